from __future__ import annotations

import dataclasses
import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.artifacts import FileEntry, Manifest, Producer, read_manifest, write_manifest
from nemo_runspec.artifacts.manifest import manifest_bytes, parse_manifest
from nemo_runspec.errors import ArtifactError
from tests.nemo_runspec.artifacts.making import manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_manifest_reads_back_as_it_was(tmp_path: Path) -> None:
    made = manifest(version=3)
    write_manifest(tmp_path / "manifest.json", made)
    assert read_manifest(tmp_path / "manifest.json") == made


def test_the_smallest_manifest_reads_back() -> None:
    made = Manifest(name="a", type="model", path="/a", producer=Producer("stage"))
    assert parse_manifest(manifest_bytes(made), "here") == made


def test_the_time_is_utc() -> None:
    created = datetime.fromisoformat(Manifest(name="a", type="t", path="/a", producer=Producer("s")).created_at)
    assert created.utcoffset() == timedelta(0)


def test_fields_are_the_path_and_the_metadata() -> None:
    made = manifest()
    assert made.field("path") == "/results/model"
    assert made.field("vocab_size") == 4096


def test_an_unknown_field_gets_a_guess() -> None:
    with pytest.raises(ArtifactError, match="artifact 'tiny-model:v2' has no field 'vocabsize'") as caught:
        manifest(version=2).field("vocabsize")
    assert caught.value.remedy == "Did you mean 'vocab_size'?"
    with pytest.raises(ArtifactError) as caught:
        manifest().field("zzz")
    assert caught.value.remedy == "Known fields: path, vocab_size."


def test_what_could_not_be_read_back_is_refused() -> None:
    with pytest.raises(ArtifactError, match="cannot name an artifact"):
        manifest("a/b")
    with pytest.raises(ArtifactError, match=r"metadata\.x is a object"):
        manifest(metadata={"x": object()})
    with pytest.raises(ArtifactError, match="holds the key 'path'"):
        manifest(metadata={"path": "/elsewhere"})


def test_a_manifest_is_json_even_where_training_diverged() -> None:
    document = json.loads(manifest_bytes(manifest(result={"last": math.nan})), parse_constant=pytest.fail)
    assert document["result"] == {"last": None}


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/other"},
        {"type": "dataset"},
        {"metadata": {}},
        {"inputs": {"data": "tiny-data:v2"}},
        {"files": (FileEntry("weights.bin", 3, "f" * 64),)},
        {"producer": Producer("nano3/sft", config_digest="d" * 64)},
        {"producer": Producer("nano3/pretrain", config_digest="0" * 64)},
        {"name": "other"},
    ],
)
def test_another_content(change: dict[str, Any]) -> None:
    assert not manifest().same_content(manifest(**change))


def test_times_and_measurements_are_no_content() -> None:
    producer = dataclasses.replace(manifest().producer, argv=("other",), git={}, packages={})
    later = manifest(version=9, created_at="2000-01-01T00:00:00+00:00", result={}, producer=producer)
    assert manifest().same_content(later)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this is not JSON"),
        (b'{"schema": 1', "this is not JSON"),
        (b"\xff\xfe", "this is not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "'schema' is missing"),
        (b'{"schema": 2}', "has schema 2"),
        (b'{"schema": 1}', "'name' is missing"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_manifest(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert says in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "../up", "cannot name an artifact"),
        ("version", "1", "'version' is '1'"),
        ("metadata", [], "'metadata' is []"),
        ("inputs", {"data": 3}, "'inputs.data' is 3"),
        ("producer", {"name": "x"}, "'producer.argv' is missing"),
        ("files", [{"path": "a", "size": 1}], "'files.0.sha256' is missing"),
        ("files", [{"path": "a", "size": 1, "sha256": "", "mode": 1}], "unknown key 'files.0.mode'"),
        ("extra", 1, "unknown key 'extra'"),
    ],
)
def test_every_field_is_checked(key: str, value: object, says: str) -> None:
    document = json.loads(manifest_bytes(manifest(version=1)))
    document[key] = value
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(json.dumps(document).encode(), "s3://b/manifest.json")
    assert caught.value.message.startswith("s3://b/manifest.json: ")
    assert says in caught.value.message


def test_a_missing_file_is_the_callers_to_handle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "manifest.json")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"cannot read {tmp_path}"):
        read_manifest(tmp_path)
