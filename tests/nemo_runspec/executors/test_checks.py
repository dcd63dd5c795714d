from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.checks import command_problems, storage_problems, variable_problems
from nemo_runspec.executors.request import build_request
from tests.nemo_runspec.executors.test_request import LEPTON, MOUNT, RUNAI, job

if TYPE_CHECKING:
    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.runai import RunaiSettings

BOTH = pytest.mark.parametrize("settings", [LEPTON, RUNAI], ids=["lepton", "dgxcloud"])
NO_TEXT = os.fsdecode(b"canary\xff")


def test_a_variable_that_is_no_text_is_named_and_its_value_is_not() -> None:
    variables = [("GOOD", "é→ $(HOME)"), ("NUMBER", 1), (2, "x"), ("BYTES", NO_TEXT), (f"B{NO_TEXT}", "x")]
    told = [str(problem) for problem in variable_problems("lepton", variables)]
    assert [text.partition(". ")[0] for text in told] == [
        "the name of the variable 2 is no text but of the type 'int'",
        "the name of the variable 'Bcanary\\udcff' holds bytes that are no UTF-8",
        "the value of the variable 'NUMBER' is no text but of the type 'int'",
        "the value of the variable 'BYTES' holds bytes that are no UTF-8",
    ]
    assert "canary" not in told[3]


def test_a_command_is_text() -> None:
    assert not list(command_problems("é→\n😀"))
    (problem,) = command_problems(NO_TEXT)
    assert problem.message == "the command holds bytes that are no UTF-8"


@BOTH
def test_a_jobs_folder_is_on_a_volume_that_can_be_written(settings: LeptonSettings | RunaiSettings) -> None:
    def told(home: str) -> list[str]:
        return [problem.message for problem in storage_problems(home, settings, 1)]

    name, key = ("nemo_run_dir", "mounts") if settings is LEPTON else ("pvc_nemo_run_dir", "pvcs")
    assert told("/mnt/nfs/nemo_run") == told("/mnt/nfs") == []
    assert told("/mnt/nfs2/nemo_run") == [f"{name} is on none of the {key} (/mnt/nfs)"]
    assert told("nemo_run") == [f"{name} must be an absolute path in the pod, not 'nemo_run'"]


READ_ONLY = replace(LEPTON, mounts=({**MOUNT, "mount_options": {"read_only": True}},))
NODE_LOCAL = replace(LEPTON, mounts=({**MOUNT, "from": "node-local"},))
EPHEMERAL = replace(RUNAI, pvcs=({**RUNAI.pvcs[0], "ephemeral": True},))


@pytest.mark.parametrize(
    ("settings", "changes", "says"),
    [
        (EPHEMERAL, {}, "pvc_nemo_run_dir is on an ephemeral volume"),
        (READ_ONLY, {}, "nemo_run_dir is on a volume that is mounted read-only"),
        (NODE_LOCAL, {"nodes": 2}, "nemo_run_dir is on 'node-local', which is another disk on each of the 2 nodes"),
        (LEPTON, {"env": {"RANK": "0"}}, "the variable 'RANK' tells a process its place"),
        (RUNAI, {"secrets": {"NEMO_RUNSPEC_BOOT": "x"}}, "'NEMO_RUNSPEC_BOOT' is this library's own"),
        (RUNAI, {"secret_references": {"RUNAI_PROJECT": "x"}}, "'RUNAI_PROJECT' is run:ai's own"),
    ],
)
def test_a_job_of_an_executor_is_refused_as_one_of_a_profile(
    settings: LeptonSettings | RunaiSettings, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ProfileError) as error:
        build_request(job(settings, **changes))
    assert says in str(error.value)


def test_one_node_may_have_its_own_disk() -> None:
    build_request(job(NODE_LOCAL, nodes=1))
