from __future__ import annotations

import os

import pytest

from nemo_runspec.executors.checks import is_encodable, storage_problems, text_problems
from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.runai import RunaiSettings
from tests.nemo_runspec.executors.test_request import LEPTON, RUNAI

BOTH = pytest.mark.parametrize("settings", [LEPTON, RUNAI], ids=["lepton", "dgxcloud"])
NO_TEXT = os.fsdecode(b"canary\xff")


def test_a_variable_that_is_no_text_is_named_and_its_value_is_not() -> None:
    variables = [("GOOD", "é→ $(HOME)"), ("NUMBER", 1), ("FLAG", True), ("NONE", None), (2, "x"), ("BYTES", NO_TEXT)]
    told = [str(problem) for problem in text_problems([*variables, (f"B{NO_TEXT}", "x")])]
    assert [text.partition(",")[0] for text in told] == [
        "the variable 'NUMBER' is of type int",
        "the variable 'FLAG' is of type bool",
        "the variable 'NONE' is of type NoneType",
        "the name of the variable 2 is of type int",
        "the variable 'BYTES' holds bytes that are no UTF-8",
        "the variable 'Bcanary\\udcff' holds bytes that are no UTF-8",
    ]
    assert "canary" not in told[4]


def test_what_python_keeps_of_bytes_cannot_be_sent() -> None:
    assert is_encodable("é→\n😀")
    assert not is_encodable(NO_TEXT)


@BOTH
def test_a_jobs_folder_is_on_a_volume_that_can_be_written(settings: LeptonSettings | RunaiSettings) -> None:
    def told(home: str) -> list[str]:
        return [str(problem) for problem in storage_problems(home, settings)]

    name, key = ("nemo_run_dir", "mounts") if settings is LEPTON else ("pvc_nemo_run_dir", "pvcs")
    assert told("/mnt/nfs/nemo_run") == told("/mnt/nfs") == []
    (message,) = told("/mnt/nfs2/nemo_run")
    assert message.startswith(f"{name} is on none of the {key} (/mnt/nfs). Choose a folder below the ")
    assert told("nemo_run") == [f"{name} must be an absolute path in the pod, not 'nemo_run'"]


def test_the_volume_that_holds_the_folder_decides() -> None:
    read_only = {"path": "/mnt/nfs/data", "claimName": "data", "readOnly": True}
    runai = RunaiSettings(project_name="p", pvcs=(*RUNAI.pvcs, read_only, {"claimName": "no folder"}))
    assert not list(storage_problems("/mnt/nfs/x", runai))
    (problem,) = storage_problems("/mnt/nfs/data/x", runai)
    assert problem.message == "pvc_nemo_run_dir is on a volume that is mounted read-only"
    options = {"path": "/", "mount_path": "/m", "from": "node-nfs:a", "mount_options": {"read_only": True}}
    (problem,) = storage_problems("/m", LeptonSettings(resource_shape="s", node_group="g", mounts=(options,)))
    assert problem.message == "nemo_run_dir is on a volume that is mounted read-only"
    (problem,) = storage_problems("/m", LeptonSettings(resource_shape="s", node_group="g"))
    assert "(there are none)" in problem.message
