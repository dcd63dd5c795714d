from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import corpus, pretrain
from nemotron.data_prep.binidx import read_pair
from nemotron.data_prep.corpus import Document, split_of
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from nemo_runspec.artifacts import Manifest
    from nemo_runspec.stage import Stage

DOCUMENTS = [Document(f"module_{number}.py", f"value_{number} = {number}\n") for number in range(60)]


def made(folder: Path, **changes: object) -> Stage:
    config = {"blend": None, "tokenizer": {"path": None, "vocab_size": 280}, "valid_fraction": 0.2, "seed": 1}
    return stage(folder, **(config | changes))


def run(folder: Path, **changes: object) -> Manifest:
    pretrain.prepare(made(folder, **changes))
    return ArtifactStore(str(folder / "artifacts")).get("made")


def blend_of(manifest: Manifest) -> dict[str, list[str] | None]:
    blend: dict[str, list[str] | None] = json.loads(Path(str(manifest.field("blend"))).read_text())
    return blend


def weights(entries: list[str] | None) -> list[float]:
    return [float(word) for word in (entries or [])[::2]]


def texts(manifest: Manifest, entries: list[str] | None) -> list[str]:
    """Decode the documents of a split, each without the token that ends it."""
    tokenizer = load_tokenizer(f"{manifest.path}/tokenizer")
    found = []
    for prefix in (entries or [])[1::2]:
        tokens, lengths = read_pair(Path(prefix))
        start = 0
        for length in lengths.tolist():
            ids = tokens[start : start + length].tolist()
            assert ids[-1] == tokenizer.end_of_text
            found.append(str(tokenizer.backend.decode(ids[:-1], skip_special_tokens=False)))
            start += length
    return found


def write_blend(folder: Path, *datasets: dict[str, object], **splits: list[dict[str, object]]) -> str:
    (folder / "blend.json").write_text(json.dumps(splits or {"datasets": datasets}))
    return str(folder / "blend.json")


def write_lines(path: Path, *documents: str) -> dict[str, object]:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return {"name": path.stem, "path": path.name}


def test_the_standard_library_by_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "standard_library", lambda: DOCUMENTS)
    manifest = run(tmp_path)
    blend = blend_of(manifest)
    assert blend["test"] is None
    for split in ("train", "valid"):
        assert weights(blend[split]) == [1.0]
        assert texts(manifest, blend[split]) == [item.text for item in DOCUMENTS if split_of(item.name) == split]
    assert manifest.field("vocabulary") == 280
    assert manifest.result["tokens"] == manifest.field("train_tokens") + manifest.field("valid_tokens")  # type: ignore[operator]  # numbers


def test_the_same_run_again_is_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus, "standard_library", lambda: DOCUMENTS)
    first = run(tmp_path)
    said = capsys.readouterr().out
    assert "training the tokenizer" in said
    assert "records -> " in said
    assert "published made:v1" in said
    assert run(tmp_path) == first
    said = capsys.readouterr().out
    assert "2 of 2 shards were there already" in said
    assert "training the tokenizer" not in said
    assert "reused made:v1" in said
    assert run(tmp_path, seed=2).path != first.path


def test_a_blend_with_weights_and_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "a {number}"}}\n' for number in range(40)) + '{"text": ""}\n')
    (tmp_path / "b.jsonl").write_text('{"body": "only one"}\n')
    blend = write_blend(
        tmp_path,
        {"name": "a", "path": "a.jsonl", "weight": 3},
        {"name": "b", "path": "b.jsonl", "text_field": "body"},
    )
    manifest = run(tmp_path, blend=blend, tokenizer={"path": str(tmp_path / "tokenizer")}, valid_fraction=0.3)
    made_of = blend_of(manifest)
    train, valid = made_of["train"], made_of["valid"]
    assert weights(train) == [3.0, 1.0]
    assert train is not None
    assert texts(manifest, train[2:]) == ["only one"]
    assert sorted(texts(manifest, train[:2]) + texts(manifest, valid)) == sorted(f"a {number}" for number in range(40))
    assert valid
    assert manifest.field("empty") == 1


def test_a_shard_weighs_what_its_tokens_are_of_its_set(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    one = write_lines(tmp_path / "one.jsonl", *(f"a line of some length {number}" for number in range(100)))
    two = write_lines(tmp_path / "two.jsonl", "word " * 9)
    changes = {"tokenizer": {"path": str(tmp_path / "tokenizer")}, "shard_size": "1KiB", "valid_fraction": 0.0}
    manifest = run(tmp_path, blend=write_blend(tmp_path, one | {"weight": 2.0}, two), **changes)
    train = blend_of(manifest)["train"]
    assert train is not None
    prefixes = train[1::2]
    tokens = [len(read_pair(Path(prefix))[0]) for prefix in prefixes]
    assert len(prefixes) > 4
    assert weights(train)[-1] == 1.0
    assert weights(train)[:-1] == pytest.approx([2.0 * count / sum(tokens[:-1]) for count in tokens[:-1]])
    assert texts(manifest, train)[:100] == [f"a line of some length {number}" for number in range(100)]


def test_a_blend_that_names_its_splits(tmp_path: Path) -> None:
    sets = {name: [write_lines(tmp_path / f"{name}.jsonl", f"{name} text")] for name in ("train", "valid", "test")}
    manifest = run(tmp_path, blend=write_blend(tmp_path, **sets), valid_fraction=0.9)
    blend = blend_of(manifest)
    assert {split: texts(manifest, blend[split]) for split in sets} == {split: [f"{split} text"] for split in sets}


def test_a_test_split_of_its_own(tmp_path: Path) -> None:
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", *(f"text {number}" for number in range(100))))
    manifest = run(tmp_path, blend=blend, valid_fraction=0.2, test_fraction=0.3)
    found = {split: texts(manifest, entries) for split, entries in blend_of(manifest).items()}
    assert sorted(text for split in found.values() for text in split) == sorted(
        f"text {number}" for number in range(100)
    )
    assert len(found["test"]) > 15
    assert len(found["valid"]) > 8


def test_a_split_without_documents_is_null(tmp_path: Path) -> None:
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "one"))
    manifest = run(tmp_path, blend=blend, valid_fraction=0.0)
    assert blend_of(manifest)["valid"] is None


def test_there_is_always_something_to_train_on(tmp_path: Path) -> None:
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "one"))
    manifest = run(tmp_path, blend=blend, valid_fraction=0.999999)
    assert texts(manifest, blend_of(manifest)["train"]) == ["one"]
    assert blend_of(manifest)["valid"] is None


def test_a_changed_weight_rewrites_only_the_blend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    changes = {"tokenizer": {"path": str(tmp_path / "tokenizer")}}
    one = write_lines(tmp_path / "one.jsonl", *(f"one {number}" for number in range(30)))
    two = write_lines(tmp_path / "two.jsonl", *(f"two {number}" for number in range(30)))
    first = run(tmp_path, blend=write_blend(tmp_path, one, two), **changes)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*")}
    capsys.readouterr()
    second = run(tmp_path, blend=write_blend(tmp_path, one | {"weight": 5.0}, two | {"name": "renamed"}), **changes)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*")} == before
    assert "2 of 2 shards were there already" in capsys.readouterr().out
    assert weights(blend_of(first)["train"]) == [1.0, 1.0]
    assert weights(blend_of(second)["train"]) == [5.0, 1.0]
    assert blend_of(first)["train"][1::2] == blend_of(second)["train"][1::2]  # type: ignore[index]  # both have one


def test_parquet_and_text_beside_json_lines(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"row {number}" for number in range(5)]}), tmp_path / "p.parquet")
    (tmp_path / "notes.txt").write_text("first\n\nsecond\n")
    blend = write_blend(
        tmp_path,
        {"name": "p", "path": "p.parquet"},
        {"name": "notes", "path": "notes.txt", "document": "paragraph"},
        write_lines(tmp_path / "a.jsonl", "line"),
    )
    manifest = run(tmp_path, blend=blend, valid_fraction=0.0)
    found = [text.strip() for text in texts(manifest, blend_of(manifest)["train"])]
    assert found == [*(f"row {number}" for number in range(5)), "first", "second", "line"]


def test_a_record_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: the record has no field 'text'"):
        run(tmp_path, blend=write_blend(tmp_path, {"name": "a", "path": "a.jsonl"}))
    assert not (tmp_path / "artifacts").exists()


def test_records_that_are_skipped_are_counted_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n\n{"text": 3}\nno JSON\n{"text": "five"}\n')
    blend = write_blend(tmp_path, {"name": "a", "path": "a.jsonl"})
    manifest = run(tmp_path, blend=blend, on_error="skip", valid_fraction=0.0)
    assert texts(manifest, blend_of(manifest)["train"]) == ["one", "five"]
    assert manifest.field("skipped") == 3
    listed = [json.loads(line) for line in (Path(manifest.path) / "skipped.jsonl").read_text().splitlines()]
    assert sorted(item["where"].rpartition(":")[2] for item in listed) == ["2", "4", "5"]
    assert "3 not usable" in capsys.readouterr().out


def test_what_is_long_is_cut_and_what_is_short_left_out(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "x" * 50, "ab", "0123456789"))
    changes = {"tokenizer": {"path": str(tmp_path / "tokenizer")}, "valid_fraction": 0.0}
    manifest = run(tmp_path, blend=blend, max_tokens=11, min_chars=3, **changes)
    assert texts(manifest, blend_of(manifest)["train"]) == ["x" * 10, "0123456789"]
    assert (manifest.field("truncated"), manifest.field("too_short")) == (1, 1)


def test_a_sample_takes_the_first_records_of_each_set(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", *(f"one {number}" for number in range(30)))
    two = write_lines(tmp_path / "two.jsonl", *(f"two {number}" for number in range(2)))
    changes = {"sample": 3, "valid_fraction": 0.0, "shard_size": "50B"}
    manifest = run(tmp_path, blend=write_blend(tmp_path, one, two), **changes)
    assert texts(manifest, blend_of(manifest)["train"]) == ["one 0", "one 1", "one 2", "two 0", "two 1"]


def test_the_name_of_a_special_token_is_text(tmp_path: Path) -> None:
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "a<|endoftext|>b"))
    manifest = run(tmp_path, blend=blend, valid_fraction=0.0)
    tokens, _ = read_pair(Path((blend_of(manifest)["train"] or [])[1]))
    end = load_tokenizer(f"{manifest.path}/tokenizer").end_of_text
    assert tokens.tolist().count(end) == 1
    assert texts(manifest, blend_of(manifest)["train"]) == ["a<|endoftext|>b"]


def test_the_end_of_text_in_a_document_does_not_end_it(tmp_path: Path) -> None:
    file = small_tokenizer(tmp_path / "tokenizer").json_file
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "a<|endoftext|>b", "<|endoftext|>"))
    changes = {"blend": blend, "tokenizer": {"path": str(file.parent)}, "valid_fraction": 0.0}
    manifest = run(tmp_path, **changes)
    tokens, _ = read_pair(Path((blend_of(manifest)["train"] or [])[1]))
    assert tokens.tolist().count(load_tokenizer(str(file.parent)).end_of_text) == 2
    file.write_text(file.read_text().replace('"special": true', '"special": false'))
    with pytest.raises(DataError, match="is not special"):
        run(tmp_path, **changes)


def test_other_files_of_the_tokenizer_are_published_anew(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "tokenizer").folder
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", "a"))
    changes = {"blend": blend, "tokenizer": {"path": str(folder)}, "valid_fraction": 0.0}
    first = run(tmp_path, **changes)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    second = run(tmp_path, **changes)
    assert second.path != first.path
    assert load_tokenizer(f"{second.path}/tokenizer").chat_template == "{{ messages }}"


def test_a_set_without_text(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    blend = write_blend(tmp_path, write_lines(tmp_path / "a.jsonl", ""))
    with pytest.raises(DataError, match=r"blend\.json:1: all texts of the data set 'a' are empty"):
        run(tmp_path, blend=blend, tokenizer={"path": str(tmp_path / "tokenizer")})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"valid_fraction": 1}, "valid_fraction"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, r"valid_fraction \+ test_fraction is 1\.0"),
        ({"tokenizer": {"vocab_size": 0}}, r"tokenizer\.vocab_size is 0"),
        ({"tokenizer": {"engine": "gigatokens"}}, r"tokenizer\.engine is 'gigatokens'"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"shard_size": "64 parrots"}, "shard_size is '64 parrots'"),
        ({"workers": 0}, "workers is 0"),
        ({"sample": -1}, "sample is -1"),
        ({"backend": "dask"}, "backend is 'dask'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, **changes)
