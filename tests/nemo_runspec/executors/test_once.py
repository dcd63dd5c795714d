from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, RefusedError, UnreachableError
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.executors.once import WISH, NothingToTakeError, Wish, tell
from nemo_runspec.executors.submission import Sender, send
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.workload import JobState, Request, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.errors import PlatformError

REQUEST = Request(platform="slurm", kind="job", body={"sbatch": "x"})
NO_ANSWER = UnreachableError("no answer")
COMMAND = Wish(also_told=True, tells=True)


class Cluster:
    """Has jobs by name; what it answers to whom can be disturbed."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self.away: PlatformError | None = None
        self.refusal: PlatformError | None = None
        self.loses_the_reply = False
        self.late: set[str] = set()

    def submit(self, request: Request, name: str) -> Submitted:
        if self.refusal is not None:
            raise self.refusal
        self.jobs.setdefault(name, JobState.RUNNING)
        if self.loses_the_reply:
            raise NO_ANSWER
        return Submitted(request.platform, request.kind, f"id-{name}", name)

    def find(self, kind: str, name: str) -> Submitted | None:
        if self.away is not None:
            raise self.away
        if name in self.late:
            self.late.remove(name)
            return None
        return Submitted("slurm", kind, f"id-{name}", name) if name in self.jobs else None

    def look(self, workload: Submitted) -> Seen:
        if isinstance(self.away, UnreachableError):
            return Seen(JobState.UNREACHABLE)
        if self.away is not None:
            raise self.away
        return Seen(self.jobs.get(workload.name, JobState.LOST))

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        raise NotImplementedError

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        raise NotImplementedError

    def cancel(self, workload: Submitted) -> None:
        raise NotImplementedError

    def read(self, workload: Submitted, name: str) -> bytes | None:
        raise NotImplementedError

    def remove(self, workload: Submitted) -> None:
        raise NotImplementedError


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@contextmanager
def wishing(wish: Wish) -> Iterator[None]:
    token = WISH.set(wish)
    try:
        yield
    finally:
        WISH.reset(token)


def submit(journal: Journal, cluster: Cluster, wish: Wish = COMMAND, request: Request = REQUEST) -> Entry:
    sender = Sender(connection={"profile": "p", "host": "a", "home": "/h"}, journal=journal, home="/h", nodes=2)
    with wishing(wish):
        return send(request, "sft", sender, platform=cluster)


def told(journal: Journal, entry: Entry) -> Entry:
    tell(journal, entry.name, lambda: None)
    return journal.read(entry.name)


def test_what_is_sent_is_recorded(journal: Journal, cluster: Cluster) -> None:
    entry = submit(journal, cluster)
    assert journal.read(entry.name) == entry
    assert (entry.confirmed, entry.told, entry.profile, entry.nodes) == (True, False, "p", 2)
    assert entry.pod_job_dir == f"/h/jobs/{entry.name}"
    assert told(journal, entry).told


def test_the_same_command_again_finds_the_job_that_goes_on(journal: Journal, cluster: Cluster) -> None:
    first = told(journal, submit(journal, cluster))
    assert submit(journal, cluster) == first
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize("other", ["new", "ended", "another body", "another place"])
def test_another_job_is_submitted_where_it_is_another(journal: Journal, cluster: Cluster, other: str) -> None:
    first = told(journal, submit(journal, cluster))
    wish = replace(COMMAND, new=other == "new")
    if other == "ended":
        cluster.jobs[first.name] = JobState.FAILED
    request = replace(REQUEST, body={"sbatch": "y"}) if other == "another body" else REQUEST
    if other == "another place":
        journal.change(first.name, fingerprint="of another place")
    assert submit(journal, cluster, wish, request).name != first.name
    assert len(cluster.jobs) == 2
    if other == "ended":
        assert journal.read(first.name).last_state is JobState.FAILED


def test_nothing_is_submitted_beside_a_record_that_cannot_be_read(journal: Journal, cluster: Cluster) -> None:
    first = told(journal, submit(journal, cluster))
    (journal.folder / "broken-abc123.json").write_text("{", encoding="utf-8")
    assert submit(journal, cluster) == first
    cluster.jobs[first.name] = JobState.FAILED
    with pytest.raises(UnreachableError, match=r"broken-abc123.json cannot be read") as error:
        submit(journal, cluster)
    assert "--new" in (error.value.remedy or "")
    assert submit(journal, cluster, replace(COMMAND, new=True)).name != first.name


def test_who_only_takes_submits_nothing(journal: Journal, cluster: Cluster) -> None:
    taken: list[str] = []
    wish = replace(COMMAND, only_take=True, takes=lambda: taken.append("it"))
    with pytest.raises(NothingToTakeError):
        submit(journal, cluster, wish)
    assert (cluster.jobs, list(journal.entries())) == ({}, [])
    first = told(journal, submit(journal, cluster))
    assert submit(journal, cluster, wish) == first
    cluster.jobs[first.name] = JobState.SUCCEEDED
    with pytest.raises(NothingToTakeError):
        submit(journal, cluster, wish)
    assert submit(journal, cluster, replace(wish, also_ended=True)).name == first.name
    assert taken == ["it", "it"]


def test_a_job_that_failed_is_not_taken_for_one_that_has_succeeded(journal: Journal, cluster: Cluster) -> None:
    first = told(journal, submit(journal, cluster))
    cluster.jobs[first.name] = JobState.FAILED
    with pytest.raises(NothingToTakeError):
        submit(journal, cluster, replace(COMMAND, only_take=True, also_ended=True))


def test_who_gave_up_takes_nothing_over(journal: Journal, cluster: Cluster) -> None:
    told(journal, submit(journal, cluster))
    given_up = threading.Event()
    given_up.set()
    token = ABANDONED.set(given_up)
    try:
        with pytest.raises(AbandonedError):
            submit(journal, cluster)
    finally:
        ABANDONED.reset(token)


def test_a_job_that_ended_before_its_user_heard_of_it_is_still_theirs(journal: Journal, cluster: Cluster) -> None:
    first = submit(journal, cluster)
    cluster.jobs[first.name] = JobState.SUCCEEDED
    assert submit(journal, cluster).name == first.name
    told(journal, first)
    assert submit(journal, cluster).name != first.name


def test_a_lost_reply_is_resolved_by_the_next_command(journal: Journal, cluster: Cluster) -> None:
    cluster.loses_the_reply = True
    with pytest.raises(UnreachableError):
        submit(journal, cluster)
    (intent,) = journal.entries()
    assert not intent.confirmed
    cluster.loses_the_reply = False
    again = submit(journal, cluster)
    assert (again.name, again.id, again.confirmed) == (intent.name, f"id-{intent.name}", True)
    assert list(cluster.jobs) == [intent.name]


def test_what_never_arrived_is_sent_under_its_own_name(journal: Journal, cluster: Cluster) -> None:
    cluster.loses_the_reply = True
    with pytest.raises(UnreachableError):
        submit(journal, cluster)
    cluster.loses_the_reply = False
    (name,) = cluster.jobs
    cluster.jobs.clear()
    assert submit(journal, cluster).name == name
    assert [entry.name for entry in journal.entries()] == [name]


@pytest.mark.parametrize("away", [NO_ANSWER, DeniedError("no", remedy="Sign in.")])
def test_nothing_is_submitted_while_an_earlier_submission_cannot_be_asked_about(
    journal: Journal, cluster: Cluster, away: PlatformError
) -> None:
    cluster.loses_the_reply = True
    with pytest.raises(UnreachableError):
        submit(journal, cluster)
    cluster.loses_the_reply, cluster.away = False, away
    with pytest.raises(UnreachableError, match=r"may have been accepted, .* nothing was submitted now") as caught:
        submit(journal, cluster)
    assert "--new" in (caught.value.remedy or "")
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize("away", [NO_ANSWER, DeniedError("no")])
def test_nothing_is_submitted_while_it_is_not_known_whether_the_first_has_ended(
    journal: Journal, cluster: Cluster, away: PlatformError
) -> None:
    told(journal, submit(journal, cluster))
    cluster.away = away
    with pytest.raises(UnreachableError, match=r"whether it has ended cannot be asked: .* nothing was submitted now"):
        submit(journal, cluster)
    assert len(cluster.jobs) == 1


def test_an_end_that_was_seen_is_not_asked_about_again(journal: Journal, cluster: Cluster) -> None:
    first = told(journal, submit(journal, cluster))
    journal.saw(first.name, Seen(JobState.SUCCEEDED))
    cluster.away = NO_ANSWER
    assert submit(journal, cluster).name != first.name


def test_a_name_that_is_taken_when_it_is_used_again_is_ones_own(
    journal: Journal, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemo_runspec.executors.submission._LOOK_S", 0)
    cluster.loses_the_reply = True
    with pytest.raises(UnreachableError):
        submit(journal, cluster)
    (name,) = cluster.jobs
    cluster.late.add(name)
    cluster.loses_the_reply, cluster.refusal = False, RefusedError("there is one", status=409)
    assert submit(journal, cluster).id == f"id-{name}"


@pytest.mark.parametrize("again", [False, True])
def test_a_refusal_leaves_no_record_unless_an_earlier_request_may_still_arrive(
    journal: Journal, cluster: Cluster, *, again: bool
) -> None:
    if again:
        cluster.loses_the_reply = True
        with pytest.raises(UnreachableError):
            submit(journal, cluster)
        cluster.jobs.clear()
    cluster.refusal = RefusedError("no", status=400)
    with pytest.raises(RefusedError):
        submit(journal, cluster)
    assert len(list(journal.entries())) == again


def test_a_program_that_submits_twice_gets_two_jobs(journal: Journal, cluster: Cluster) -> None:
    first, second = submit(journal, cluster, Wish()), submit(journal, cluster, Wish())
    assert first.name != second.name
    assert journal.read(first.name).told


def test_a_program_whose_first_run_was_killed_takes_up_what_nobody_heard_of(journal: Journal, cluster: Cluster) -> None:
    first = submit(journal, cluster)  # and not told
    assert submit(journal, cluster, Wish()).name == first.name
    assert submit(journal, cluster, Wish()).name != first.name


def test_many_clients_at_once_make_one_job(journal: Journal, cluster: Cluster) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = {entry.name for entry in pool.map(lambda _: submit(journal, cluster), range(24))}
    assert list(cluster.jobs) == list(names)
    assert len(names) == 1


def test_who_gives_up_waiting_for_another_client_submits_nothing(journal: Journal, cluster: Cluster) -> None:
    entered, leave, given_up = threading.Event(), threading.Event(), threading.Event()
    original = cluster.submit

    def slow(request: Request, name: str) -> Submitted:
        entered.set()
        assert leave.wait(30)
        return original(request, name)

    cluster.submit = slow  # type: ignore[method-assign]  # of this one cluster

    def impatient() -> None:
        ABANDONED.set(given_up)
        submit(journal, cluster)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(submit, journal, cluster)
        assert entered.wait(30)
        second = pool.submit(impatient)
        given_up.set()
        with pytest.raises(AbandonedError):
            second.result(30)
        leave.set()
        only = first.result(30).name
    assert list(cluster.jobs) == [only]
