from __future__ import annotations

import json
from typing import TYPE_CHECKING

import fsspec
import pytest

from nemo_runspec.errors import ConfigError, DataError
from nemo_runspec.stage.splits import read_split

if TYPE_CHECKING:
    from pathlib import Path

SPLITS = {"train": "/d/train.jsonl", "val": ["/d/a.jsonl", "/d/b.jsonl"], "test": "", "mode": "local_split"}


def _write(folder: Path, document: object) -> str:
    (folder / "manifest.json").write_text(json.dumps(document))
    return str(folder)


def test_one_file_is_a_path_and_several_are_a_list(tmp_path: Path) -> None:
    folder = _write(tmp_path, {**SPLITS, "test": ["/d/only.jsonl"]})
    assert read_split(folder, "train") == "/d/train.jsonl"
    assert read_split(folder, "val") == ["/d/a.jsonl", "/d/b.jsonl"]
    assert read_split(f"{folder}/manifest.json", "test") == "/d/only.jsonl"


def test_paths_relative_to_the_manifest(tmp_path: Path) -> None:
    folder = _write(tmp_path, {"train": ["train/0.jsonl", "s3://b/1.jsonl"]})
    for where in (folder, f"{folder}/", f"{folder}/manifest.json"):
        assert read_split(where, "train") == [f"{folder}/train/0.jsonl", "s3://b/1.jsonl"]


def test_a_manifest_behind_a_url() -> None:
    fsspec.filesystem("memory").pipe_file("/splits/manifest.json", json.dumps(SPLITS).encode())
    assert read_split("memory://splits", "train") == "/d/train.jsonl"
    assert read_split("memory://splits/manifest.json", "val") == ["/d/a.jsonl", "/d/b.jsonl"]


def test_an_unknown_split_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no split 'valid'\n  Did you mean 'val'\?"):
        read_split(str(tmp_path), "valid")


@pytest.mark.parametrize("document", [SPLITS, {key: SPLITS[key] for key in ("train", "val")}, {**SPLITS, "test": []}])
def test_a_split_that_the_data_lacks(tmp_path: Path, document: object) -> None:
    with pytest.raises(DataError, match=r"has no split 'test'\n  It has train and val:"):
        read_split(_write(tmp_path, document), "test")


@pytest.mark.parametrize("where", ["", "/nowhere", "/manifest.json"])
def test_no_manifest_names_the_command_that_makes_one(tmp_path: Path, where: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.json does not exist\n.*`nemotron nano3 data prep rl`"):
        read_split(f"{tmp_path}{where}", "train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"train": "a",\n "val": }', "line 2, is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "names no split"),
        (b'{"name": "model", "path": "/x"}', "names no split"),
        (b'{"train": 3}', "'train' of .* is neither a path nor a list of paths"),
        (b'{"train": ["/a", ""]}', "'train' of .* is neither"),
        (b'{"train": "/a", "val": {"x": 1}}', "'val' of .* is neither"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"manifest\.json.*{said}|{said}.*\n.*prepare the data again"):
        read_split(str(tmp_path), "train")
