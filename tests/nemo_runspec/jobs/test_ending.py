from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import GoneError, JobFailedError, UnreachableError
from nemo_runspec.executors.file_lock import held
from nemo_runspec.jobs import cancel, ending, reattach
from nemo_runspec.platforms.workload import Cause, JobState, Seen
from nemo_runspec.redaction import Redactor
from tests.nemo_runspec.jobs.places import entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.executors.journal import Journal
    from nemo_runspec.jobs import JobStatus
    from tests.nemo_runspec.jobs.places import Cluster

NAME = "sft-aaaaaa"
RUNNING = Seen(JobState.RUNNING)


@pytest.fixture(autouse=True)
def recorded(journal: Journal) -> None:
    journal.write(entry(NAME))


def follow(journal: Journal, said: list[str] | None = None) -> JobStatus:
    redactor = Redactor(["canary-secret"])
    return reattach(journal.read(NAME), journal, redactor, say=(said if said is not None else []).append)


@pytest.mark.parametrize(
    ("ends_as", "state"),
    [
        (Seen(JobState.CANCELLED), JobState.CANCELLED),
        (Seen(JobState.LOST), JobState.CANCELLED),  # as on a platform that stops by deleting
        (Seen(JobState.SUCCEEDED), JobState.SUCCEEDED),  # it was quicker
        (Seen(JobState.FAILED, exit_code=3), JobState.FAILED),
    ],
)
def test_a_cancelled_job_is_told_as_it_ended_and_cancelled_once(
    journal: Journal, clusters: Mapping[str, Cluster], ends_as: Seen, state: JobState
) -> None:
    clusters["a"].states[NAME], clusters["a"].ends_as = RUNNING, ends_as
    assert cancel(journal.read(NAME), journal).seen.state is state
    assert journal.read(NAME).last_state is state
    assert cancel(journal.read(NAME), journal).seen.state is state
    assert clusters["a"].cancelled == [NAME]


def test_nothing_is_said_of_a_job_that_cannot_be_asked_about(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    clusters["a"].failure = UnreachableError("no answer")
    with pytest.raises(UnreachableError, match="no answer"):
        cancel(journal.read(NAME), journal)
    clusters["a"].failure, clusters["a"].ends_as = None, Seen(JobState.UNREACHABLE)
    clusters["a"].states[NAME] = RUNNING
    with pytest.raises(UnreachableError, match="whether it has is not known"):
        cancel(journal.read(NAME), journal)
    assert journal.read(NAME).last_state is None


def test_a_job_that_never_arrived_has_nothing_to_cancel(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    journal.change(NAME, id="")
    assert cancel(journal.read(NAME), journal).seen.state is JobState.LOST
    assert clusters["a"].cancelled == []


def test_what_is_being_submitted_is_cancelled_when_it_is_there_and_told_when_it_does_not_arrive(
    journal: Journal, clusters: Mapping[str, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.change(NAME, id="", fingerprint="ab12")
    monkeypatch.setattr(ending, "SENT_S", 0.3)
    with held(journal.locks / "ab12", deadline_s=1, what="submitting"):
        whom = rf"another process \({os.getpid()}\) is submitting it"
        with pytest.raises(UnreachableError, match=whom) as caught:
            cancel(journal.read(NAME), journal)
        assert "Stop that command" in str(caught.value.remedy)
        with pytest.raises(UnreachableError, match=whom):
            follow(journal)
    assert clusters["a"].cancelled == []
    monkeypatch.setattr(ending, "SENT_S", 30)
    arrives = threading.Event()

    def submit() -> None:
        with held(journal.locks / "ab12", deadline_s=1, what="submitting"):
            arrives.set()
            threading.Event().wait(0.5)
            clusters["a"].states[NAME] = RUNNING
            journal.change(NAME, id="12")

    submission = threading.Thread(target=submit)
    submission.start()
    assert arrives.wait(5)
    assert cancel(journal.read(NAME), journal).seen.state is JobState.CANCELLED
    submission.join()
    assert clusters["a"].cancelled == [NAME]


def test_an_unconfirmed_job_that_cannot_be_looked_up_is_not_told_to_end(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    journal.change(NAME, id="")
    clusters["a"].failure = UnreachableError("no answer")
    with pytest.raises(UnreachableError, match="whether 'sft-aaaaaa' has arrived is not known: no answer"):
        cancel(journal.read(NAME), journal)


def test_who_only_waits_is_shown_nothing(
    journal: Journal, clusters: Mapping[str, Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    clusters["a"].states[NAME] = Seen(JobState.FAILED, exit_code=3)
    clusters["a"].logs[NAME] = ["first"]
    with pytest.raises(JobFailedError) as failed:
        reattach(journal.read(NAME), journal, Redactor([]), say=lambda _: None, quiet=True)
    assert failed.value.exit_code == 3
    assert capsys.readouterr().out == ""
    assert ending.followed_log(journal, NAME).read_text(encoding="utf-8") == "first\n"


def test_reattaching_shows_everything_and_remembers_the_end(
    journal: Journal, clusters: Mapping[str, Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    clusters["a"].states[NAME] = Seen(JobState.SUCCEEDED, exit_code=0)
    clusters["a"].logs[NAME] = ["first", "the canary-secret"]
    ended = follow(journal)
    assert (ended.seen.state, ended.entry.exit_code) == (JobState.SUCCEEDED, 0)
    out = capsys.readouterr().out
    assert "first\n" in out
    assert "canary" not in out
    (log,) = (journal.folder.parent / "logs").iterdir()
    assert log.read_text(encoding="utf-8") == out
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("seen", "line", "code"),
    [
        (Seen(JobState.FAILED, exit_code=3), "x", 3),
        (Seen(JobState.FAILED, cause=Cause.TIMEOUT), "x", 124),
        (Seen(JobState.CANCELLED), "x", 143),
    ],
)
def test_reattaching_ends_with_the_jobs_own_code(
    journal: Journal, clusters: Mapping[str, Cluster], seen: Seen, line: str, code: int
) -> None:
    clusters["a"].states[NAME] = seen
    clusters["a"].logs[NAME] = [line]
    with pytest.raises(JobFailedError) as caught:
        follow(journal)
    assert caught.value.exit_code == code
    assert journal.read(NAME).last_state is seen.state


def test_an_end_that_only_the_record_knows_is_told_by_it(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    journal.saw(NAME, Seen(JobState.FAILED, exit_code=7))
    with pytest.raises(JobFailedError) as caught:
        follow(journal)
    assert caught.value.exit_code == 7
    journal.saw(NAME, Seen(JobState.SUCCEEDED))
    assert follow(journal).seen.state is JobState.SUCCEEDED
    assert clusters["a"].looks == 2


def test_there_is_nothing_to_follow_of_a_job_that_nobody_knows(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    assert clusters["a"].states == {}
    with pytest.raises(GoneError, match="does not know it any more"):
        follow(journal)
    journal.change(NAME, id="")
    with pytest.raises(GoneError, match="it never arrived"):
        follow(journal)
