from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import PayloadError, ProfileError
from nemo_runspec.executors.launch_script import LAUNCH_COMMAND, launch_script
from nemo_runspec.executors.request import CloudJob, build_request, lepton_settings, runai_settings
from nemo_runspec.executors.source import Source
from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.runai import RunaiSettings
from nemo_runspec.platforms.workload import canonical

if TYPE_CHECKING:
    from pathlib import Path

MOUNT = {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}
LEPTON = LeptonSettings(resource_shape="cpu.small", node_group="ng", mounts=(MOUNT,))
RUNAI = RunaiSettings(project_name="p", pvcs=({"path": "/mnt/nfs", "claimName": "team", "existingPvc": True},))
BOTH = pytest.mark.parametrize("settings", [LEPTON, RUNAI], ids=["lepton", "dgxcloud"])


def job(settings: LeptonSettings | RunaiSettings, **changes: Any) -> CloudJob:  # noqa: ANN401 - fields of many types
    given = {"image": "an/image:1", "home": "/mnt/nfs/nemo_run", "launch": launch_script("true"), **changes}
    return CloudJob(settings=settings, **given)


def variables(body: dict[str, Any]) -> dict[str, Any]:
    """Give the variables of either platform's body: a value, or where it comes from."""
    spec = body["spec"]
    listed = spec.get("envs", spec.get("environmentVariables"))
    names = [item["name"] for item in listed]
    assert len(names) == len(set(names)), "a variable is named twice"
    return {item["name"]: item.get("value", {k: v for k, v in item.items() if k != "name"}) for item in listed}


@BOTH
def test_a_job_is_one_request_that_is_the_same_each_time(settings: LeptonSettings | RunaiSettings) -> None:
    files = {"scripts/a b.sh": (b"echo", True)}
    request, plan = build_request(job(settings, nodes=2, files=files, env={"MSG": "two words $HOME"}))
    again, _ = build_request(job(settings, nodes=2, files=dict(files), env={"MSG": "two words $HOME"}))
    assert request.digest == again.digest
    one, _ = build_request(job(settings, env={"A": "1", "B": "2"}, secrets={"C": "3", "D": "4"}))
    another, _ = build_request(job(settings, env={"B": "2", "A": "1"}, secrets={"D": "4", "C": "3"}))
    assert one.digest == another.digest
    assert variables(request.filled({}))["MSG"] == "two words $HOME"
    assert plan.job_files
    assert plan.sha256 == ""
    other, _ = build_request(job(settings, nodes=2, files={"scripts/a b.sh": (b"echo 2", True)}))
    assert other.digest != request.digest
    assert request.kind == ("job" if settings is LEPTON else "distributed")
    assert canonical(request.body).decode().count(LAUNCH_COMMAND[1]) == 1


@BOTH
def test_source_travels_when_it_is_asked_for(settings: LeptonSettings | RunaiSettings, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('hello')\n", encoding="utf-8")
    _, plan = build_request(job(settings, source=Source(script_path=script)))
    assert plan.sha256
    assert plan.pod_script is not None
    assert plan.pod_script.endswith("/train.py")


@BOTH
def test_each_variable_is_named_once_and_the_platforms_own_secret_wins(
    settings: LeptonSettings | RunaiSettings,
) -> None:
    request, plan = build_request(
        job(
            settings,
            env={"A": "env", "B": "env", "C": "env"},
            secrets={"B": "canary-b", "C": "canary-c"},
            secret_references={"C": "team-secret"},
        )
    )
    sent = variables(request.filled({}))
    assert (sent["A"], sent["B"]) == ("env", "canary-b")
    assert "team-secret" in str(sent["C"])
    assert "canary-c" not in canonical(request.body).decode()
    assert request.secret_variables == {"B"}
    assert plan.env.keys() <= sent.keys()
    assert "canary" not in repr(request)
    assert "canary" not in repr(job(settings, secrets={"B": "canary-b"}))


@BOTH
def test_what_is_too_large_or_refused_is_told_before_anything_is_sent(
    settings: LeptonSettings | RunaiSettings,
) -> None:
    blob = hashlib.shake_256(b"cannot be compressed").digest(1_600_000)
    with pytest.raises(PayloadError, match="too large to be sent"):
        build_request(job(settings, files={"blob": (blob, False)}))
    with pytest.raises(ProfileError) as error:
        build_request(job(settings, env={"1st": "x", "two words": "y"}))
    assert "'1st'" in str(error.value)
    assert "'two words'" in str(error.value)


@BOTH
def test_whoever_has_made_a_job_all_that_is_wrong_with_it_is_told(settings: LeptonSettings | RunaiSettings) -> None:
    no_text = os.fsdecode(b"\xff")
    secrets: Any = {"NUMBER": 1}
    with pytest.raises(ProfileError) as error:
        build_request(job(settings, home="/data", env={"B": no_text}, secrets=secrets, launch=f"echo {no_text}"))
    told = str(error.value)
    for part in (
        "is on none of the",
        "the variable 'B' holds",
        "the variable 'NUMBER' is no text",
        "the command holds",
    ):
        assert part in told


def test_a_profile_and_an_executor_give_the_same_settings() -> None:
    unset = SimpleNamespace(
        resource_shape="cpu.small", node_group="ng", mounts=(MOUNT, "git+https://x/y@main,/opt/y"), can_preempt=None
    )
    executor = SimpleNamespace(
        resource_shape="cpu.small",
        node_group="ng",
        node_reservation="",
        shared_memory_size=65536,
        mounts=[MOUNT],
        image_pull_secrets=[],
        custom_spec={},
        can_be_preempted=False,
        can_preempt=False,
        queue_priority=None,
    )
    assert lepton_settings(unset) == lepton_settings(executor)
    profile = SimpleNamespace(project_name="p", pvcs=(), dgxcloud_max_args_chars=None, distributed_framework=None)
    cloud = SimpleNamespace(project_name="p", pvcs=[], MAX_ARGS_CHARS=9500, distributed_framework="PyTorch")
    assert runai_settings(profile) == runai_settings(cloud)
    assert runai_settings(SimpleNamespace(project_name="p", dgxcloud_max_args_chars=500)).max_args_chars == 500


def test_a_request_is_built_without_nemo_run() -> None:
    program = (
        "import sys, nemo_runspec.executors.request, nemo_runspec.executors.launch_script, nemo_runspec.execution\n"
        "print([name for name in ('nemo_run', 'torchx', 'leptonai', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
