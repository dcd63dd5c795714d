from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nemo_runspec import yaml_text
from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ArtifactNotFoundError, DataError
from nemo_runspec.stage import inputs
from nemo_runspec.stage.inputs import (
    REFERENCE_FIELD,
    fill_job,
    filled_in,
    manifest_placeholder,
    placeholder,
    references,
)
from tests.nemo_runspec.artifacts.making import manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Give a job folder whose configuration reads an artifact that the store has twice."""
    store = ArtifactStore(tmp_path / "store")
    store.publish(manifest(path="/results/1", metadata={"vocab_size": 100}))
    store.publish(manifest(path="/results/2", metadata={"vocab_size": 200}))
    folder = tmp_path / "job"
    folder.mkdir()
    record = {
        "name": "test/x",
        "artifacts": {
            "root": str(tmp_path / "store"),
            "inputs": {"model": placeholder("tiny-model:latest", REFERENCE_FIELD)},
        },
    }
    config = {
        "model": {"path": placeholder("tiny-model:latest", "path") + "/hf", "size": 3},
        "vocab": [placeholder("tiny-model:latest", "vocab_size"), placeholder("tiny-model:v1", "vocab_size")],
    }
    (folder / "job.yaml.unfilled").write_text(yaml_text.dump(record), encoding="utf-8")
    (folder / "train.yaml.unfilled").write_text(yaml_text.dump(config), encoding="utf-8")
    return folder


def _read(path: Path) -> object:
    return yaml_text.load(path.read_text(encoding="utf-8"))


def test_every_placeholder_becomes_what_the_store_says(job: Path) -> None:
    fill_job(job)
    assert _read(job / "train.yaml") == {"model": {"path": "/results/2/hf", "size": 3}, "vocab": [200, 100]}
    record = _read(job / "job.yaml")
    assert isinstance(record, dict)
    assert record["artifacts"]["inputs"] == {"model": "tiny-model:v2"}
    assert sorted(path.name for path in job.iterdir()) == [
        "inputs.json",
        "job.yaml",
        "job.yaml.unfilled",
        "train.yaml",
        "train.yaml.unfilled",
    ]


def test_what_the_first_pod_found_counts_for_the_later_ones(job: Path) -> None:
    fill_job(job)
    store = ArtifactStore(job.parent / "store")
    store.publish(manifest(path="/results/3", metadata={"vocab_size": 300}))
    (job / "train.yaml").unlink()
    fill_job(job)
    assert _read(job / "train.yaml") == {"model": {"path": "/results/2/hf", "size": 3}, "vocab": [200, 100]}


def test_pods_at_the_same_moment_agree(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pod decides between this one's look at the store and its own decision."""
    link = inputs._link  # noqa: SLF001 - the moment between looking and deciding

    def late(new: Path, path: Path) -> None:
        path.write_text(json.dumps({"tiny-model:latest": "tiny-model:v1", "tiny-model:v1": "tiny-model:v1"}))
        link(new, path)

    monkeypatch.setattr(inputs, "_link", late)
    fill_job(job)
    assert _read(job / "train.yaml") == {"model": {"path": "/results/1/hf", "size": 3}, "vocab": [100, 100]}


def test_a_script_that_reads_json_gets_json(job: Path) -> None:
    (job / "train.yaml.unfilled").rename(job / "train.json.unfilled")
    fill_job(job)
    assert json.loads((job / "train.json").read_text(encoding="utf-8"))["vocab"] == [200, 100]
    assert not (job / "train.yaml").exists()


@pytest.fixture
def prepared(tmp_path: Path) -> str:
    """Give a folder of prepared data, called in the most awkward way."""
    folder = tmp_path / "a, {b} c,train"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"train": "/d/t.jsonl", "val": ["/d/0", "/d/1"], "test": ""}))
    return str(folder)


def test_manifests_are_read_where_the_job_runs(job: Path, prepared: str) -> None:
    ArtifactStore(job.parent / "store").publish(manifest(path=prepared))
    where = placeholder("tiny-model:latest", "path")
    config = {
        "train": manifest_placeholder(where, "train"),
        "val": [manifest_placeholder(f"{where}/manifest.json", "val")],
        "text": f"a {manifest_placeholder(where, 'train')} and {placeholder('tiny-model:v1', 'path')}",
    }
    (job / "train.yaml.unfilled").write_text(yaml_text.dump(config), encoding="utf-8")
    fill_job(job)
    expected = {"train": "/d/t.jsonl", "val": [["/d/0", "/d/1"]], "text": "a /d/t.jsonl and /results/1"}
    assert _read(job / "train.yaml") == expected


def test_a_manifest_in_a_folder_that_no_artifact_names(tmp_path: Path) -> None:
    folder = tmp_path / "a,b,train"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"train": "/d/t.jsonl"}')
    written = manifest_placeholder(str(folder), "train")
    assert list(references(written)) == []
    assert filled_in(written, {}) == "/d/t.jsonl"


def test_a_split_that_is_not_there_ends_the_pod_with_its_error(job: Path, prepared: str) -> None:
    ArtifactStore(job.parent / "store").publish(manifest(path=prepared))
    config = {"test": manifest_placeholder(placeholder("tiny-model:latest", "path"), "test")}
    (job / "train.yaml.unfilled").write_text(yaml_text.dump(config), encoding="utf-8")
    with pytest.raises(DataError, match="has no split 'test'"):
        fill_job(job)
    assert not (job / "train.yaml").exists()


def test_a_missing_artifact_ends_the_pod_with_its_error(job: Path) -> None:
    config = {"x": placeholder("tiny-modle:latest", "path")}
    (job / "train.yaml.unfilled").write_text(yaml_text.dump(config), encoding="utf-8")
    with pytest.raises(ArtifactNotFoundError, match="tiny-modle"):
        fill_job(job)
    command = [sys.executable, "-m", "nemo_runspec.stage.inputs", str(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no artifact 'tiny-modle'" in done.stderr
    assert "Did you mean 'tiny-model'?" in done.stderr
    assert not (job / "train.yaml").exists()
