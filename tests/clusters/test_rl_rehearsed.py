"""RL on both clouds, rehearsed on two nodes each: its workers are on both."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.clusters.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.minutes

PRETRAINED = "run.model=nano3-tiny-pretrain-model:latest"
PREPARED = (
    ("data prep pretrain", ()),
    ("pretrain", ("train.steps=2", "train.save_every=2", "train.batch_size=4", "run.env.nodes=1")),
    ("data prep rl", (PRETRAINED,)),
)
RL = (PRETRAINED, "train.steps=2", "train.save_every=2", "train.batch_size=8", "train.max_answer_tokens=8")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project whose volumes have prompts and a model, and whose image on Lepton has a Ray."""
    project = Project.make(tmp_path_factory.mktemp("rl") / "project")
    path = project.folder / "env.toml"
    ray = '\nray_version = "2.49.2"\n'
    path.write_text(path.read_text(encoding="utf-8").replace("\nnodes = 2\n", f"\nnodes = 2{ray}", 1), encoding="utf-8")
    for stage, settings in PREPARED:
        project.rehearse("nano3", *stage.split(), "-c", "tiny", *settings, "--run", "lepton")
    source = next(path.parent for path in _volumes(project, "lepton").rglob("artifacts"))
    shutil.copytree(source, _volumes(project, "dgxcloud") / "my-project" / "shared" / "nemotron", dirs_exist_ok=True)
    return project


def _volumes(project: Project, profile: str) -> Path:
    return project.folder / "output" / "rehearsal" / profile / "volumes"


@pytest.mark.parametrize("profile", ["dgxcloud", "lepton"])
def test_rl_works_on_two_nodes(prepared: Project, profile: str) -> None:
    code, out, err = prepared.run("nano3", "rl", "-c", "tiny", *RL, "--run", profile, "--rehearse", "--json")
    assert code == 0, out + err
    assert "2 generation workers and 2 reward workers on 2 nodes" in out
    assert "step 2/2" in out
    assert json.loads(out.splitlines()[-1])["workloads_created"] == 1
