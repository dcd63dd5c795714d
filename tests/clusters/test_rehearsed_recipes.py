"""The main job's recipes on both clouds, rehearsed: from the command line to trained weights, through real pods."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.clusters.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ("train.steps=3", "train.save_every=3", "train.batch_size=4")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project whose Lepton volume has what SFT reads, made there stage by stage."""
    project = Project.make(tmp_path_factory.mktemp("recipes") / "project")
    for stage, pods in (("data prep pretrain", 1), ("pretrain", 2), ("data prep sft", 1)):
        small = SMALL if stage == "pretrain" else ()
        told = project.rehearse("nano3", *stage.split(), "-c", "tiny", *small, "--run", "lepton")
        assert told["workloads_created"] == 1
        assert [pod["exit_code"] for pod in told["pods"]] == [0] * pods
    return project


def _volumes(project: Project, profile: str) -> Path:
    return project.folder / "output" / "rehearsal" / profile / "volumes"


def test_sft_trains_across_two_pods_on_lepton(prepared: Project) -> None:
    line = ("nano3", "sft", "-c", "tiny", *SMALL, "--run", "lepton")
    code, out, err = prepared.run(*line, "--dry-run", "--json")
    assert code == 0, out + err
    dry = json.loads(out)
    told = prepared.rehearse(*line)
    assert told["workloads_created"] == 1
    assert [pod["exit_code"] for pod in told["pods"]] == [0, 0]
    assert told["exit_code"] == 0
    shared = ("body_sha256", "archive_sha256", "raw_bytes", "encoded_bytes", "largest_value_bytes", "environment_bytes")
    assert {key: told[key] for key in shared} == {key: dry[key] for key in shared}
    assert told["largest_value_bytes"] <= 96 * 1024
    manifests = sorted(_volumes(prepared, "lepton").rglob("nano3-tiny-sft-model/v1/manifest.json"))
    manifest = json.loads(manifests[0].read_text(encoding="utf-8"))
    assert manifest["inputs"] == {"data": "nano3-tiny-sft-data:v1", "model": "nano3-tiny-pretrain-model:v1"}
    assert manifest["producer"]["argv"] == [
        "__main__.py",
        *(word for word in line),
    ], "the same record, whether it is rehearsed or not"


@pytest.mark.parametrize("layout", [(), ("--with-master",)], ids=["workers only", "with a master"])
def test_sft_trains_across_pods_on_dgxcloud(prepared: Project, layout: tuple[str, ...]) -> None:
    source = next(path.parent for path in _volumes(prepared, "lepton").rglob("artifacts"))
    target = _volumes(prepared, "dgxcloud") / "my-project" / "shared" / "nemotron"
    shutil.copytree(source, target, dirs_exist_ok=True)
    # A seed of its own: a run that is finished already would not train.
    seed = f"train.seed={1 + len(layout)}"
    code, out, err = prepared.run(
        "nano3", "sft", "-c", "tiny", *SMALL, seed, "--run", "dgxcloud", *layout, "--rehearse", "--json"
    )
    assert code == 0, out + err
    told = json.loads(out.splitlines()[-1])
    line = ("nano3", "sft", "-c", "tiny", *SMALL, seed, "--run", "dgxcloud", "--dry-run", "--json")
    assert told["body_sha256"] == json.loads(prepared.run(*line)[1])["body_sha256"]
    assert told["workloads_created"] == 1
    assert [pod["exit_code"] for pod in told["pods"]] == [0] * (3 if layout else 2)
    assert told["largest_value_bytes"] <= 9000
    assert "step 3/3" in out
    assert ("is not needed: the job has 2 nodes" in out) == bool(layout)
