from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.executors.file_lock import held
from nemo_runspec.jobs import JobStatus, list_jobs, status
from nemo_runspec.jobs.looking import BEING_SENT, NEVER_ARRIVED, seconds
from nemo_runspec.platforms.workload import Cause, JobState, Seen
from tests.nemo_runspec.jobs.places import entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.executors.journal import Journal
    from tests.nemo_runspec.jobs.places import Cluster

RUNNING = Seen(JobState.RUNNING, "RUNNING")


def test_two_jobs_of_one_number_on_two_clusters_are_two(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    for host, state in (("a", JobState.RUNNING), ("b", JobState.QUEUED)):
        journal.write(entry(f"sft-{host * 6}", host, job="12"))
        clusters[host].states[f"sft-{host * 6}"] = Seen(state)
    found = {(job.cluster, job.entry.id): job.seen.state for job in list_jobs(journal)}
    assert found == {("a", "12"): JobState.RUNNING, ("b", "12"): JobState.QUEUED}


def test_a_slow_place_hides_no_other_and_says_nothing_about_its_jobs(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    clusters["a"].slow = threading.Event()
    for number in range(6):
        journal.write(entry(f"slow-{number:06}", "a"))
        journal.write(entry(f"fast-{number:06}", "b"))
        clusters["b"].states[f"fast-{number:06}"] = RUNNING
    begin = time.monotonic()
    found = {job.entry.name: job for job in list_jobs(journal, place_s=0.5)}
    assert time.monotonic() - begin < 5
    clusters["a"].slow.set()
    assert {job.seen.state for name, job in found.items() if name.startswith("fast")} == {JobState.RUNNING}
    late = [job for name, job in found.items() if name.startswith("slow")]
    assert {(job.seen.state, job.why) for job in late} == {(JobState.UNREACHABLE, "a did not answer within 0.5 s")}
    assert len(found) == 12


def test_an_end_that_was_seen_is_told_without_asking_and_after_the_platform_forgot(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    journal.write(entry("sft-aaaaaa"))
    cluster = clusters["a"]
    cluster.states["sft-aaaaaa"] = Seen(JobState.FAILED, exit_code=3)
    (first,) = list_jobs(journal)
    assert (first.seen.state, first.seen.exit_code, first.remembered) == (JobState.FAILED, 3, False)
    cluster.states.clear()
    (again,) = list_jobs(journal)
    assert (again.seen.state, again.seen.exit_code, again.remembered, cluster.looks) == (JobState.FAILED, 3, True, 1)
    one = status(journal.read("sft-aaaaaa"), journal)
    assert (one.seen.state, one.remembered, cluster.looks) == (JobState.FAILED, True, 2)
    cluster.states["sft-aaaaaa"] = Seen(JobState.RUNNING, attempt=1)  # somebody has started it again
    assert status(journal.read("sft-aaaaaa"), journal).seen.attempt == 1
    assert journal.read("sft-aaaaaa").last_state is None


@pytest.mark.parametrize("failure", [UnreachableError("no answer"), DeniedError("not you")])
def test_what_cannot_be_asked_is_unreachable_and_never_failed(
    journal: Journal, clusters: Mapping[str, Cluster], failure: UnreachableError | DeniedError
) -> None:
    journal.write(entry("sft-aaaaaa"))
    clusters["a"].failure = failure
    told = status(journal.read("sft-aaaaaa"), journal)
    assert (told.seen.state, told.why) == (JobState.UNREACHABLE, failure.message)
    assert journal.read("sft-aaaaaa").last_state is None


def test_a_job_that_nobody_knows_any_more_is_lost_and_asked_about_again(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    journal.write(entry("sft-aaaaaa"))
    for _ in range(2):
        assert status(journal.read("sft-aaaaaa"), journal).seen.state is JobState.LOST
    assert clusters["a"].looks == 2


def test_an_intent_is_looked_up_by_its_name(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    journal.write(entry("sft-aaaaaa", job=""))
    journal.write(entry("sft-bbbbbb", job=""))
    clusters["a"].states["sft-aaaaaa"] = RUNNING
    there = status(journal.read("sft-aaaaaa"), journal)
    assert (there.seen.state, there.entry.id) == (JobState.RUNNING, "found-sft-aaaaaa")
    assert journal.read("sft-aaaaaa").confirmed
    assert status(journal.read("sft-bbbbbb"), journal).seen == Seen(JobState.LOST, NEVER_ARRIVED)


@pytest.mark.parametrize("lock", ["fingerprint", "name"])
def test_what_is_being_submitted_is_not_lost_and_its_platform_is_not_asked(
    journal: Journal, clusters: Mapping[str, Cluster], lock: str
) -> None:
    journal.write(entry("sft-aaaaaa", job="", fingerprint="ab12"))
    clusters["a"].failure = DeniedError("to look a job up takes away what has arrived of it")
    path = journal.locks / "ab12"
    holding = (
        held(path, deadline_s=1, what="submitting")
        if lock == "fingerprint"
        else journal.sending("sft-aaaaaa", deadline_s=1, sleep=time.sleep)
    )
    with holding:
        told = status(journal.read("sft-aaaaaa"), journal)
    assert told.seen == Seen(JobState.STARTING, BEING_SENT)
    assert told.why == f"another process ({os.getpid()}) is submitting it"
    clusters["a"].failure = None
    assert status(journal.read("sft-aaaaaa"), journal).seen == Seen(JobState.LOST, NEVER_ARRIVED)


def test_a_submission_that_begins_or_ends_during_a_look_is_noticed(
    journal: Journal, clusters: Mapping[str, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entry("sft-aaaaaa", job="", fingerprint="ab12")
    journal.write(entry("sft-aaaaaa"))
    clusters["a"].states["sft-aaaaaa"] = RUNNING
    assert status(before, journal).entry.id == "12"  # it was accepted after the record was read
    journal.write(before)
    with held(journal.locks / "ab12", deadline_s=1, what="submitting"):
        heard = [journal.sender(before), ""]  # nobody at first
        clusters["a"].states.clear()
        monkeypatch.setattr(journal, "sender", lambda _: heard.pop())
        assert status(before, journal).seen.state is JobState.STARTING


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), UnreachableError("x")])
def test_what_cannot_be_kept_is_told_all_the_same_and_warned_of_once(
    journal: Journal,
    clusters: Mapping[str, Cluster],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    names = [f"sft-{number:06}" for number in range(12)]
    for name in names:
        journal.write(entry(name, job="" if name.endswith("0") else "12"))
        clusters["a"].states[name] = Seen(JobState.FAILED, exit_code=3)

    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(journal, "change", full)
    told = list_jobs(journal)
    assert {(job.seen.state, job.seen.exit_code, job.entry.confirmed) for job in told} == {(JobState.FAILED, 3, True)}
    assert len(caplog.records) == 1
    assert str(journal.folder) in caplog.text


def test_as_data_it_has_all_keys_whatever_is_known() -> None:
    empty = JobStatus(entry("sft-aaaaaa", job=""), Seen(JobState.UNREACHABLE), "why")
    full = JobStatus(entry("sft-aaaaaa"), Seen(JobState.FAILED, "NODE_FAIL", 1, Cause.NODE, 2))
    assert empty.as_data().keys() == full.as_data().keys()
    assert {key: full.as_data()[key] for key in ("key", "cluster", "id", "state", "final", "cause", "attempt")} == {
        "key": "sft-aaaaaa",
        "cluster": "a",
        "id": "12",
        "state": "failed",
        "final": True,
        "cause": "node",
        "attempt": 2,
    }
    assert (empty.as_data()["id"], empty.as_data()["confirmed"], empty.as_data()["why"]) == (None, False, "why")


def test_a_record_from_the_future_has_no_age() -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert JobStatus(entry("sft-aaaaaa", created=later), RUNNING).age_s == 0
    assert seconds("no time") == 0
    assert seconds("2026-01-01T00:00:00") == seconds("2026-01-01T00:00:00+00:00")
