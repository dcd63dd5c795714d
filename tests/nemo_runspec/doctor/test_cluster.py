from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nemo_runspec.doctor import cluster
from nemo_runspec.doctor.facts import Facts, Folder, Submission, read_facts
from nemo_runspec.doctor.findings import State
from nemo_runspec.env import SlurmProfile

FINE = Folder("folder", ours=True, mode=0o700, free_kib=2**22, said="", exposed="")


def one(found: Any) -> tuple[str, str]:  # noqa: ANN401 - a finding, or an iterator with one
    """Give the state and the text of the only finding."""
    (finding,) = found if hasattr(found, "__iter__") else (found,)
    assert finding.state is State.OK or finding.remedy
    return finding.state.value, finding.text


def test_facts_are_read_and_a_greeting_is_passed_over() -> None:
    facts = read_facts(
        "Welcome to the cluster!\nclock\tsoon\nclock\t12.5\ntool\tgit\t\ntool\trsync\trsync  version 3.5\n"
        "folder\t0\tnew\t1\t755\t\tfull\t/x\npath\t1\tnothing\npath\tx\tnothing\npartition\tbatch\tup\n"
        "account\tresearch\nasked\taccounts\t0\t\ntest\t0\t1\t\tno such thing\ntest\t1\t0\t90\tfine\n"
    )
    assert facts == Facts(
        clock=12.5,
        tools={"git": "", "rsync": "rsync  version 3.5"},
        folders={0: Folder("new", ours=True, mode=0o755, free_kib=None, said="full", exposed="/x")},
        paths={1: "nothing"},
        partitions={"batch": "up"},
        accounts=["research"],
        asked={"accounts": (0, "")},
        submissions={0: Submission(1, None, "no such thing"), 1: Submission(0, 90, "fine")},
    )


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (1000.0, "ok"),
        (1004.0, "ok"),
        (1029.0, "ok"),
        (1000.0 + 3600 + 5, "1 h ahead of"),
        (1000.0 - 7200, "2 h behind"),
        (1000.0 - 90, "2 min behind"),
    ],
)
def test_a_clock_is_wrong_only_beyond_what_the_call_took(remote: float, expected: str) -> None:
    state, text = one(cluster.clock(remote, before=1000.0, took_s=5.0))
    assert state == ("ok" if expected == "ok" else "warn")
    assert expected == "ok" or expected in text


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, "ok", "can be written to, 4 GiB free"),
        ({"kind": "new"}, "ok", "can be made, 4 GiB free"),
        ({"kind": "new", "ours": False, "mode": 0o1777}, "ok", "can be made"),
        ({"free_kib": None}, "ok", "/j can be written to"),
        ({"free_kib": 1000}, "warn", "0 GiB free"),
        ({"kind": "file"}, "FAIL", "no folder"),
        ({"said": "No space left on device"}, "FAIL", "No space left"),
        ({"ours": False}, "FAIL", "belongs to somebody else"),
        ({"mode": 0o770}, "FAIL", "written to by others (mode 770)"),
        ({"mode": 0o777}, "FAIL", "written to by others"),
        ({"exposed": "/shared"}, "FAIL", "everybody may rename folders in /shared"),
    ],
)
def test_a_folder_of_jobs_is_judged(changes: dict[str, Any], state: str, text: str) -> None:
    found = one(cluster.folder("remote_job_dir", "/j", replace(FINE, **changes)))
    assert found[0] == state
    assert text in found[1]


def test_results_may_be_shared_and_silence_is_no_approval() -> None:
    shared = replace(FINE, ours=False, mode=0o770)
    assert one(cluster.folder("workspace", "/w", shared))[0] == "ok"
    assert one(cluster.folder("workspace", "/w", None)) == ("FAIL", "/w was asked and gave no answer in time")


TOOLS = {"bash": "5.1", "rsync": "rsync  version 3.2.3", "flock": "flock 2.37", "sbatch": "slurm 23.02.1", "git": "2.3"}


def test_programs_are_told_with_their_versions() -> None:
    found = list(cluster.tools(Facts(tools=TOOLS | {"pyxis": "there"}), has_container=True))
    assert [finding.text for finding in found] == ["bash 5.1, flock 2.37, git 2.3, pyxis, rsync 3.2.3, Slurm 23.02.1"]


def test_missing_programs_are_told() -> None:
    facts = Facts(tools=TOOLS | {"rsync": "", "git": "", "pyxis": ""})
    del facts.tools["flock"]
    found = {finding.text: finding.state.value for finding in cluster.tools(facts, has_container=True)}
    assert found == {
        "rsync not there": "FAIL",
        "flock was asked and gave no answer in time": "FAIL",
        "git is not there": "warn",
        "srun has no --container-image, so jobs cannot run in a container": "FAIL",
    }


def scheduling(facts: Facts, *partitions: str, account: str | None = "research") -> list[tuple[str, str]]:
    facts.tools = dict(TOOLS)
    found = cluster.scheduling(account, partitions, facts)
    return [(finding.state.value, finding.text) for finding in found]


def test_a_scheduler_that_takes_the_job_is_fine() -> None:
    facts = Facts(
        partitions={"batch": "up", "debug": "down"},
        accounts=["research"],
        asked={"partitions": (0, ""), "accounts": (0, "")},
        submissions={0: Submission(0, 20, "x"), 1: Submission(0, 7300, "x"), 2: Submission(0, None, "x")},
    )
    assert scheduling(facts, "batch", "batch,debug", "") == [
        ("ok", "batch is up"),
        ("warn", "partition debug is down"),
        ("ok", "research is yours"),
        ("ok", "sbatch takes a job in partition batch; it would start now"),
        ("ok", "sbatch takes a job in partition batch,debug; it would start in 2 h"),
        ("ok", "sbatch takes a job in the default partition"),
    ]


def test_what_the_scheduler_refuses_is_told_in_its_words() -> None:
    said = "sbatch: error: Batch job submission failed: Invalid qos specification"
    facts = Facts(
        partitions={"batch": "up"},
        accounts=["other"],
        asked={"partitions": (0, ""), "accounts": (0, "")},
        submissions={0: Submission(1, None, said)},
    )
    assert scheduling(facts, "nope") == [
        ("FAIL", "there is no partition nope"),
        ("FAIL", "you have no account research"),
        ("FAIL", "sbatch refuses a job in partition nope: Batch job submission failed: Invalid qos specification"),
    ]


def test_without_accounting_only_sbatch_judges_the_account() -> None:
    facts = Facts(asked={"partitions": (0, ""), "accounts": (1, "disabled")}, submissions={0: Submission(0, 0, "")})
    assert [text for _, text in scheduling(facts, "")] == [
        "sbatch takes a job in the default partition; it would start now"
    ]


def test_a_controller_that_gives_no_answer_is_not_fine() -> None:
    silent = "gave no answer in time"
    for facts in (Facts(), Facts(asked={"partitions": (124, "")}, submissions={0: Submission(124, None, "")})):
        found = scheduling(facts, "batch")
        assert [state for state, _ in found] == ["FAIL", "FAIL"]
        assert all(silent in text for _, text in found)
    assert scheduling(Facts(asked={"partitions": (1, "no controller")}), "")[0] == ("FAIL", "sinfo: no controller")


@pytest.mark.parametrize(
    ("named", "kind", "state", "text"),
    [
        (None, None, "ok", "the script names"),
        ("none", None, "ok", "on the node itself"),
        ("/x.sqsh", "file", "ok", "/x.sqsh is there"),
        ("/x.sqsh", "nothing", "FAIL", "/x.sqsh is not there"),
        ("/x.sqsh", None, "FAIL", "no answer"),
        ("a/b:1", "file", "ok", "is there"),
        ("a/b:1", "nothing", "warn", "a/b:1 is not imported yet; enroot is not on the login node"),
    ],
)
def test_an_image_is_there_or_can_be_imported(named: str | None, kind: str | None, state: str, text: str) -> None:
    profile = SlurmProfile(name="s", container_image=named)
    found = one(cluster.image(profile, "/x.sqsh", kind, Facts()))
    assert found[0] == state
    assert text in found[1]


def test_what_is_mounted_may_be_on_compute_nodes_only() -> None:
    found = [(one.state.value, one.text) for one in cluster.mounts({"/a": "folder", "/b": "nothing", "/c": None})]
    assert found == [
        ("warn", "/b is not on the login node"),
        ("FAIL", "/c was asked and gave no answer in time"),
        ("ok", "/a there"),
    ]
