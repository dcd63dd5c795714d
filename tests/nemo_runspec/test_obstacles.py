from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nemo_runspec.env import DockerProfile, LeptonProfile, LocalProfile, SlurmProfile
from nemo_runspec.obstacles import missing_image, obstacles, readable_secrets
from nemo_runspec.redaction import Redactor
from nemo_runspec.spec import parse
from tests.nemo_runspec.recipes import write_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from nemo_runspec.errors import ProfileError

MOUNT = {"path": "/", "mount_path": "/mnt", "from": "node-nfs:x"}
LEPTON = LeptonProfile(name="far", nemo_run_dir="/mnt/jobs", mounts=(MOUNT,), container_image="image:1")
CANARY = "canary-0123456789"


def _told(found: Iterable[ProfileError]) -> list[str]:
    return [error.message for error in found]


def test_a_good_job_meets_none(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path))
    assert _told(obstacles(spec, LEPTON, "/mnt/out", "/mnt/out/artifacts", 1)) == []
    assert _told(obstacles(spec, LocalProfile.default(), "/out", "/out/artifacts", 1)) == []


def test_a_secret_is_missing_only_where_nobody_else_delivers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse(write_recipe(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    table = replace(LEPTON, secrets={"HF_TOKEN": "the-platforms"})
    names = replace(LEPTON, secrets=("HF_TOKEN",))
    assert _told(obstacles(spec, table, "/mnt", "/mnt/a", 1)) == []
    assert "takes HF_TOKEN from your environment" in _told(obstacles(spec, names, "/mnt", "/mnt/a", 1))[0]


def test_the_store_on_a_web_address_must_not_hold_its_password(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path))
    told = _told(obstacles(spec, LEPTON, "/mnt", f"https://me:{CANARY}@host/artifacts", 1))
    assert "holds a secret" in told[0]
    assert CANARY not in told[0]


def test_pods_need_an_image(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path))
    bare = LeptonProfile(name="far", nemo_run_dir="/mnt/jobs", mounts=(MOUNT,))
    assert _told(obstacles(spec, bare, "/mnt", "/mnt/a", 1)) == [missing_image(spec, bare).message]


def test_this_machine_is_one_node_with_folders(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path))
    told = _told(obstacles(spec, LocalProfile(name="here"), "s3://bucket/out", "/a", 3))
    assert "wants 3 nodes" in told[0]
    assert "needs a folder" in told[1]


def test_a_secret_that_the_platform_would_keep_is_found_by_value_and_by_name() -> None:
    redactor = Redactor([CANARY])
    config = {"fine": {"a": 1}, "deep": {"list": ["x", f"x{CANARY}y"]}, "api_key": "abcdefgh123"}
    told = _told(readable_secrets(redactor, config, ("--ok", f"--x={CANARY}")))
    assert "'deep', 'api_key'" in told[0]
    assert "arguments hold a secret" in told[1]
    assert CANARY not in "".join(told)
    assert _told(readable_secrets(redactor, {"fine": 1}, ("--ok",))) == []


def test_ray_is_spread_over_nodes(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path, launch="ray"))
    assert _told(obstacles(spec, LEPTON, "/mnt", "/mnt/a", 2)) == []
    assert _told(obstacles(spec, SlurmProfile(name="far"), "/mnt", "/mnt/a", 2)) == []
    here = DockerProfile(name="here")
    assert _told(obstacles(spec, here, "/mnt", "/mnt/a", 1)) == []
    told = _told(obstacles(spec, here, "/mnt", "/mnt/a", 2))
    assert "runs on Ray, whose containers of 2 nodes would share this machine" in told[0]


def test_a_script_cannot_set_what_pods_find_out_for_themselves(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path))
    spec = replace(spec, env={"RANK": "1", "LEPTON_WORKSPACE_ID": "x", "FINE": "1"})
    (error,) = obstacles(spec, LEPTON, "/mnt", "/mnt/a", 1)
    assert "'LEPTON_WORKSPACE_ID' is Lepton's own" in error.message
    assert "'RANK' tells a process its place" in error.message
    assert "FINE" not in error.message
    assert error.where == spec.source
    assert _told(obstacles(spec, LocalProfile.default(), "/out", "/out/a", 1)) == []


def test_nodes_that_the_script_asks_for_share_the_jobs_folder(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path, launch="torchrun"))
    own = replace(LEPTON, mounts=({**MOUNT, "from": "node-local"},))
    assert _told(obstacles(spec, own, "/mnt", "/mnt/a", 1)) == []
    wide = replace(spec, resources=replace(spec.resources, nodes=2))
    assert "nemo_run_dir is on 'node-local'" in _told(obstacles(wide, own, "/mnt", "/mnt/a", 1))[0]
    assert _told(obstacles(wide, LEPTON, "/mnt", "/mnt/a", 1)) == []
    assert _told(obstacles(replace(wide, run=replace(wide.run, launch="direct")), own, "/mnt", "/mnt/a", 1)) == []
