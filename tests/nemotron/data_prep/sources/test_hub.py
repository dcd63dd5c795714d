"""Data sets on the Hub: the commit, the files of a subset and split, and reading them from there."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import list_files
from tests.nemotron.data_prep.sources.stores import Server, hub, read_as_a_user, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def parquet(*texts: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), stream, row_group_size=2)
    return stream.getvalue()


LINES = b"".join(b'{"text": "line %d"}\n' % number for number in range(50))
CONTENTS = {
    ".gitattributes": b"x",
    "README.md": b"about",
    "dataset_infos.json": b"{}",
    "one/train-00000-of-00001.parquet": parquet("a", "b", "c"),
    "one/test-00000-of-00001.parquet": parquet("d"),
    "two/train/data.jsonl": LINES,
    "two/validation.jsonl": b'{"text": "v"}\n',
    "plain.jsonl": b'{"text": "p"}\n',
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(hub("org/name", COMMIT, CONTENTS, ("main", "v1", "refs/convert/parquet"))) as served:
        yield served


def urls(answer: dict[str, object]) -> list[str]:
    prefix = f"hf://datasets/org/name@{COMMIT}/"
    found = [str(url) for url, _, _ in cast("list[list[object]]", answer["files"])]
    assert all(url.startswith(prefix) for url in found)
    return [url.removeprefix(prefix) for url in found]


def texts(answer: dict[str, object]) -> list[str]:
    spans = cast("list[tuple[str, int, int, str, list[dict[str, str]]]]", answer["spans"])
    return [value["text"] for *_, values in spans for value in values]


def test_files_of_a_repository_and_what_they_hold(server: Server) -> None:
    data = [name for name in sorted(CONTENTS) if name.endswith(("parquet", "jsonl"))]
    everything, part, folder, file, subset, prefix, none, revision, odd = read_as_a_user(
        {"HF_ENDPOINT": server.url},
        {"path": "hf://org/name"},
        {"path": "hf://datasets/org/name", "split": "train"},
        {"path": "hf://org/name/one"},
        {"path": "hf://org/name@v1/two/train/data.jsonl", "shard_bytes": 100},
        {"path": "hf://org/name@refs/convert/parquet", "subset": "two", "split": "validation"},
        {"path": "hf://org/name", "subset": "pla", "split": "train"},
        {"path": "hf://org/name", "split": "dev"},
        {"path": "hf://org/name@v7"},
        {"path": "hf://org/other"},
    )
    assert urls(everything) == data
    assert everything["forked"]
    assert urls(part) == ["one/train-00000-of-00001.parquet", "two/train/data.jsonl"]
    assert texts(part) == ["a", "b", "c", *(f"line {number}" for number in range(50))]
    assert urls(folder) == [name for name in data if name.startswith("one/")]
    assert texts(folder) == ["d", "a", "b", "c"]
    assert (urls(subset), texts(subset)) == (["two/validation.jsonl"], ["v"])
    assert urls(prefix) == ["plain.jsonl"]
    assert "has no data files of split 'dev'\n" in f"{none['error']}\n"
    assert "the Hub cannot be asked for 'hf://org/name@v7'" in str(revision["error"])
    assert "the Hub cannot be asked for 'hf://org/other'" in str(odd["error"])

    assert texts(file) == [f"line {number}" for number in range(50)]
    identities = {url: identity for url, _, identity in cast("list[list[str]]", everything["files"])}
    prefix_of_all = f"hf://datasets/org/name@{COMMIT}/"
    assert identities[prefix_of_all + "two/train/data.jsonl"] == f"sha256:{hashlib.sha256(LINES).hexdigest()}"
    assert identities[prefix_of_all + "plain.jsonl"].startswith("blob:")


def test_the_commit_is_asked_once_and_spans_read_their_bytes(server: Server) -> None:
    server.requests.clear()
    asked: dict[str, object] = {"path": "hf://org/name/two/train/data.jsonl", "shard_bytes": 200}
    first, second = read_as_a_user({"HF_ENDPOINT": server.url}, asked, asked)
    assert first == second
    trees = [
        one
        for one in server.requests
        if "/tree/" in one.path and one.query.get("recursive", [""])[0].lower() in {"1", "true"}
    ]
    assert len([one for one in server.requests if one.path == "/api/datasets/org/name"]) == 1
    assert len(trees) == 1
    fetched = [one.range for one in server.requests if one.path.endswith("data.jsonl") and one.range]
    assert fetched
    assert (0, 200) in fetched
    assert (0, len(LINES)) not in fetched


def test_the_hub_when_it_may_not_be_asked() -> None:
    (answer,) = read_as_a_user({"HF_HUB_OFFLINE": "1"}, {"path": "hf://org/name"})
    assert "the Hub cannot be asked for 'hf://org/name'" in str(answer["error"])
    assert "HF_HUB_OFFLINE is not set" in str(answer["error"])


def test_the_hub_when_nobody_answers() -> None:
    with serving(lambda _: (500, b"", {})) as gone:
        url = gone.url
    (answer,) = read_as_a_user({"HF_ENDPOINT": url}, {"path": "hf://org/name"})
    assert "the Hub cannot be asked" in str(answer["error"])


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"needs the package huggingface_hub, which is not installed\n.*pip install"):
        list_files("hf://org/name", base=Path("/"), split=None, subset=None, document="file")


@pytest.mark.parametrize("url", ["hf://", "hf://name", "hf://models/org", "hf://datasets/name", "hf://spaces/a/b"])
def test_a_url_that_names_no_data_set(url: str) -> None:
    with pytest.raises(DataError, match="names no data set of the Hub"):
        list_files(url, base=Path("/"), split=None, subset=None, document="file")
