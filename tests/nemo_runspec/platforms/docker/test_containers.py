from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.platforms.docker.containers import Container, seen
from nemo_runspec.platforms.workload import Cause, JobState, Seen


def container(
    index: int, status: str, code: int = 0, ended: str = "", *, oom: bool = False, count: int = 2
) -> Container:
    labels = {"nemo-runspec.index": str(index), "nemo-runspec.count": str(count), "nemo-runspec.folder": "/f"}
    state: dict[str, Any] = {
        "Status": status,
        "ExitCode": code,
        "OOMKilled": oom,
        "FinishedAt": f"2026-01-01T00:00:{ended}Z",
    }
    return Container.of({"Id": f"id{index}", "Name": f"/job-{index}", "State": state, "Config": {"Labels": labels}})


def test_what_is_read_of_a_container() -> None:
    found = container(1, "exited", 3, "05.25")
    assert (found.id, found.name, found.index, found.count, found.folder) == ("id1", "job-1", 1, 2, "/f")
    assert (found.exit_code, found.ended) == (3, "2026-01-01T00:00:05.25")
    assert (
        Container.of({"Id": "x", "Name": "/x", "State": {"Status": "created"}, "Config": {"Labels": None}}).count == 1
    )


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([], Seen(JobState.LOST)),
        ([("created",), ("created",)], Seen(JobState.STARTING, "created")),
        ([("running",), ("created",)], Seen(JobState.STARTING, "running, created")),
        ([("exited", 0), ("created",)], Seen(JobState.STARTING, "exited (0), created")),
        ([("running",), ("running",)], Seen(JobState.RUNNING, "running")),
        ([("running",), ("exited", 0)], Seen(JobState.RUNNING, "running, exited (0)")),
        ([("paused",), ("running",)], Seen(JobState.RUNNING, "paused, running")),
        ([("running",), ("exited", 5)], Seen(JobState.STOPPING, "running, exited (5)")),
        ([("exited", 0), ("exited", 0)], Seen(JobState.SUCCEEDED, "exited (0)", 0)),
        ([("exited", 0)], Seen(JobState.LOST, "exited (0)")),
        ([("exited", 7)], Seen(JobState.FAILED, "exited (7)", 7)),
        ([("exited", 0), ("exited", 5)], Seen(JobState.FAILED, "exited (0), exited (5)", 5)),
        ([("exited", 143, "05.2"), ("exited", 5, "05.19")], Seen(JobState.FAILED, "exited (143), exited (5)", 5)),
        ([("exited", 1, "05.1"), ("exited", 5, "05.11")], Seen(JobState.FAILED, "exited (1), exited (5)", 1)),
    ],
)
def test_how_a_job_stands(containers: list[tuple[Any, ...]], expected: Seen) -> None:
    assert seen([container(index, *one) for index, one in enumerate(containers)], None) == expected


def test_memory_is_the_cause_whoever_ended_first() -> None:
    there = [container(0, "exited", 1, "01"), container(1, "exited", 137, "02", oom=True)]
    assert seen(there, None) == Seen(JobState.FAILED, "exited (1), exited (137)", 137, Cause.MEMORY)


def test_a_cancelled_job_is_no_failure_unless_it_was_one_before() -> None:
    both = frozenset({"job-0", "job-1"})
    assert seen([container(0, "exited", 137), container(1, "running")], both).state is JobState.STOPPING
    assert seen([container(0, "exited", 137), container(1, "exited", 1)], both).state is JobState.CANCELLED
    assert seen([container(0, "created"), container(1, "created")], both).state is JobState.CANCELLED
    assert seen([container(0, "exited"), container(1, "exited")], both) == Seen(JobState.SUCCEEDED, "exited (0)", 0)
    failed = seen([container(0, "exited", 137, "09"), container(1, "exited", 3, "01")], frozenset({"job-0"}))
    assert (failed.state, failed.exit_code) == (JobState.FAILED, 3)
