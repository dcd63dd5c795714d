from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from nemo_runspec.errors import InterruptedJobError, JobFailedError, RefusedError, UnreachableError
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.executors.once import NothingToTakeError
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.submit import chain
from nemo_runspec.submit.chain import cancel, follow_chain, submit_chain
from nemo_runspec.submit.platform import Sent, Take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.job import Job
    from nemo_runspec.submit.watching import Stop

NAMES = ("one", "two", "three")


def job_of(name: str, *, cancels: bool = False, new: bool = False) -> Job:
    request = SimpleNamespace(cancel_on_interrupt=cancels, rehearse=False, new=new)
    profile = SimpleNamespace(name="cluster")
    return cast("Job", SimpleNamespace(spec=SimpleNamespace(name=name), request=request, profile=profile))


def nothing(_: Stop) -> None:
    """All is well."""


@dataclass
class Cluster:
    """Accepts jobs, or does what the test says with the job of a name.

    Args:
        trouble: Name -> what happens when it is submitted or followed.
        stubborn: Names of jobs that cannot be cancelled.
        going_on: Names of jobs that were submitted before, and go on.
        ended: Names of jobs that were submitted before, and have succeeded.
    """

    trouble: dict[str, Callable[[Stop], None]] = field(default_factory=dict)
    stubborn: tuple[str, ...] = ()
    going_on: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    submitted: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def submit(
        self, job: Job, stop: Stop, _say: object, *, accepted: Callable[..., None], after: list[str], take: Take
    ) -> Sent:
        name = job.spec.name
        workload = Submitted("slurm", "job", f"id-{name}", f"{name}-abc123")
        if name in self.going_on or (name in self.ended and take is Take.ALSO_ENDED):
            return Sent(job, workload, cast("Any", self), taken=True)
        if take is not Take.OR_SUBMIT:
            message = "nothing"
            raise NothingToTakeError(message)
        self.trouble.get(name, nothing)(stop)
        self.submitted.append((name, tuple(after)))
        accepted(workload, 0.1)
        return Sent(job, workload, cast("Any", self))

    def follow(self, sent: Sent, stop: Stop, *_: object) -> None:
        self.followed.append(sent.job.spec.name)
        self.trouble.get(sent.job.spec.name, nothing)(stop)

    def cancel(self, workload: Submitted) -> None:
        if workload.name.partition("-")[0] in self.stubborn:
            message = "nobody answers"
            raise UnreachableError(message)
        self.cancelled.append(workload.id)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(chain, "submit", made.submit)
    monkeypatch.setattr(chain, "follow", made.follow)
    return made


def raises(error: Exception) -> Callable[[Stop], None]:
    def trouble(_: Stop) -> None:
        raise error

    return trouble


def submitted(cluster: Cluster, *, cancels: bool = False) -> list[Sent]:
    sent = submit_chain([job_of(name, cancels=cancels) for name in NAMES], lambda *_: None)
    cluster.submitted.clear()
    return sent


def test_each_job_waits_for_the_one_before(cluster: Cluster) -> None:
    told: list[tuple[str, str]] = []
    sent = submit_chain([job_of(name) for name in NAMES], lambda job, one: told.append((job.spec.name, one.id)))
    assert cluster.submitted == [("one", ()), ("two", ("id-one",)), ("three", ("id-two",))]
    assert told == [(name, f"id-{name}") for name in NAMES]
    assert [one.job.spec.name for one in sent] == list(NAMES)
    assert cluster.cancelled == []


@pytest.fixture
def again(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Give a cluster on which the jobs were submitted before, and of which none is known to have ended."""
    monkeypatch.setattr(chain, "nemo_run_home", lambda: tmp_path)
    for name in NAMES:
        Journal(tmp_path).write(
            Entry(platform="slurm", kind="job", name=f"{name}-abc123", id="1", title=name, profile="cluster")
        )
    return cluster


def test_the_same_command_again_takes_all_of_it_over(again: Cluster) -> None:
    again.ended, again.going_on = ("one",), ("two", "three")
    sent = submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert again.submitted == []
    assert [(one.job.spec.name, one.taken) for one in sent] == [(name, True) for name in NAMES]


def test_what_was_not_submitted_before_is_submitted_behind_the_rest(again: Cluster) -> None:
    again.ended, again.going_on = ("one",), ("two",)
    submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert again.submitted == [("three", ("id-two",))]


def test_a_refusal_ends_nothing_that_ran_before(again: Cluster) -> None:
    again.going_on = ("one",)
    again.trouble["three"] = raises(RefusedError("no such partition"))
    with pytest.raises(RefusedError):
        submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert again.cancelled == ["id-two"]


def test_all_of_it_again_when_it_has_ended_or_is_wished_for(again: Cluster) -> None:
    again.ended = NAMES
    submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    submit_chain([job_of(name, new=True) for name in NAMES], lambda *_: None)
    assert [name for name, _ in again.submitted] == [*NAMES, *NAMES]


def test_a_stage_whose_record_is_gone_is_not_submitted_twice(again: Cluster) -> None:
    again.going_on = ("three",)
    with pytest.raises(UnreachableError, match="its record is gone"):
        submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert again.submitted == []


def test_a_job_that_is_refused_takes_those_before_it_with_it(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.trouble["three"] = raises(RefusedError("no such partition"))
    with pytest.raises(RefusedError):
        submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert cluster.cancelled == ["id-two", "id-one"]
    assert capsys.readouterr().err.splitlines() == ["two (two-abc123) is cancelled", "one (one-abc123) is cancelled"]


def test_a_cluster_that_is_away_ends_nothing(cluster: Cluster) -> None:
    cluster.trouble["two"] = raises(UnreachableError("no answer"))
    with pytest.raises(UnreachableError):
        submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert cluster.cancelled == []


def test_nothing_more_is_submitted_after_a_signal(cluster: Cluster) -> None:
    # The cluster accepts the job all the same.
    cluster.trouble["two"] = lambda stop: stop.abandoned.set()
    with pytest.raises(InterruptedJobError, match="two was interrupted while it was submitted"):
        submit_chain([job_of(name) for name in NAMES], lambda *_: None)
    assert [name for name, _ in cluster.submitted] == ["one", "two"]
    assert cluster.cancelled == ["id-two", "id-one"]


def test_jobs_are_followed_one_after_the_other(cluster: Cluster) -> None:
    observed: list[int] = []
    ended = [one.job.spec.name for one in follow_chain(submitted(cluster), observed.append)]
    assert ended == cluster.followed == list(NAMES)
    assert observed == [0, 1, 2]


def test_what_waits_for_a_failed_job_is_cancelled(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    sent = submitted(cluster)
    cluster.trouble["one"] = raises(JobFailedError("no", exit_code=3))
    with pytest.raises(JobFailedError):
        list(follow_chain(sent, lambda _: None))
    assert cluster.cancelled == ["id-three", "id-two"]
    assert "three (three-abc123) is cancelled" in capsys.readouterr().err


@pytest.mark.parametrize("cancels", [False, True])
def test_a_signal_lets_all_go_on_or_ends_all(cluster: Cluster, *, cancels: bool) -> None:
    sent = submitted(cluster, cancels=cancels)
    cluster.trouble["two"] = raises(InterruptedJobError("left"))
    with pytest.raises(InterruptedJobError):
        list(follow_chain(sent, lambda _: None))
    assert cluster.followed == ["one", "two"]
    assert cluster.cancelled == (["id-three"] if cancels else [])


def test_a_job_that_cannot_be_cancelled_is_told_and_the_others_are(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.stubborn = ("two",)
    cancel(submitted(cluster))
    assert cluster.cancelled == ["id-three", "id-one"]
    assert "two (two-abc123) could not be cancelled: nobody answers" in capsys.readouterr().err
