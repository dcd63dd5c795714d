from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nemo_runspec import yaml_text
from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ArtifactNotFoundError
from nemo_runspec.stage import inputs
from nemo_runspec.stage.inputs import REFERENCE_FIELD, fill_job, placeholder
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
