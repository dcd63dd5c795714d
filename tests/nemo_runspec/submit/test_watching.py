from __future__ import annotations

import io
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import EXIT_MARKER
from nemo_runspec.errors import DeniedError, InterruptedJobError, JobFailedError, UnreachableError
from nemo_runspec.executors.follow import Ending
from nemo_runspec.platforms.workload import Cause, JobState, Seen, Submitted
from nemo_runspec.submit import watching
from nemo_runspec.submit.watching import EXIT_OF_CAUSE, LAST_LINES, Output, Stop, Watched, raise_for_ending, watch
from tests.nemo_runspec.submit.platforms import CANCELLED, RUNNING, SUCCEEDED, WORKLOAD, FakePlatform

if TYPE_CHECKING:
    from nemo_runspec.platforms.workload import Platform

LOG = Path("/project/output/job.log")
POD = f"{WORKLOAD.name}-task-1"


def output(log: io.BytesIO | None = None, *, several: bool = False) -> Output:
    return Output(WORKLOAD, several=several, log=log or io.BytesIO(), redact=lambda text: text.replace("canary", "***"))


def watched(platform: Platform | None = None) -> Watched:
    return Watched(platform or FakePlatform([RUNNING]), WORKLOAD, "mine/job", LOG)


def ended(seen: Seen, **codes: int) -> Ending:
    return Ending(seen, codes)


def failure(ending: Ending, shown: Output | None = None) -> JobFailedError:
    with pytest.raises(JobFailedError) as caught:
        raise_for_ending(watched(), ending, shown or output(), interrupted=False, cancelled=False)
    assert caught.value.remedy == f"Its output is kept in {LOG}."
    return caught.value


@pytest.mark.parametrize("cause", Cause)
def test_each_cause_has_its_message_and_code(cause: Cause) -> None:
    error = failure(ended(Seen(JobState.FAILED, "WORD", exit_code=9, cause=cause)))
    assert error.exit_code == EXIT_OF_CAUSE[cause]
    assert error.message == f"mine/job failed as {WORKLOAD.name}: {cause.value} (WORD)"


def test_the_codes_are_those_that_are_documented() -> None:
    assert [EXIT_OF_CAUSE[cause] for cause in (Cause.TIMEOUT, Cause.MEMORY, Cause.NODE, Cause.PREEMPTED)] == [
        124, 137, 75, 75,
    ]  # fmt: skip
    assert failure(ended(Seen(JobState.CANCELLED))).exit_code == 143
    assert failure(ended(Seen(JobState.LOST))).exit_code == 1
    assert failure(ended(Seen(JobState.FAILED))).exit_code == 1


def test_the_jobs_own_code_comes_before_that_of_a_pod() -> None:
    assert failure(ended(Seen(JobState.FAILED, exit_code=3), pod=5)).exit_code == 3
    assert failure(ended(Seen(JobState.FAILED), pod=5)).exit_code == 5
    assert failure(ended(Seen(JobState.FAILED, exit_code=0), pod=5)).exit_code == 5


def test_a_program_that_ended_as_ctrl_c_ends_one_is_interrupted() -> None:
    with pytest.raises(InterruptedJobError):
        raise_for_ending(
            watched(), ended(Seen(JobState.FAILED, exit_code=130)), output(), interrupted=False, cancelled=False
        )


def test_success_passes() -> None:
    raise_for_ending(watched(), ended(SUCCEEDED), output(), interrupted=False, cancelled=False)


@pytest.mark.parametrize(
    ("seen", "cancelled", "message"),
    [
        (RUNNING, False, "goes on as sft-ab12cd, and is not watched any longer"),
        (RUNNING, True, "may still run as sft-ab12cd: it did not stop in time"),
        (CANCELLED, True, "was stopped: sft-ab12cd is cancelled"),
    ],
)
def test_after_a_signal(seen: Seen, message: str, *, cancelled: bool) -> None:
    with pytest.raises(InterruptedJobError) as caught:
        raise_for_ending(watched(), ended(seen), output(), interrupted=True, cancelled=cancelled)
    assert message in caught.value.message


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job_that_had_ended_before_the_signal_has_ended_as_it_has(*, cancelled: bool) -> None:
    raise_for_ending(watched(), ended(SUCCEEDED), output(), interrupted=True, cancelled=cancelled)
    with pytest.raises(JobFailedError, match="was cancelled as sft-ab12cd"):
        raise_for_ending(watched(), ended(CANCELLED), output(), interrupted=True, cancelled=False)


@pytest.mark.parametrize("taken", [False, True])
def test_giving_a_submission_up_ends_no_job_that_ran_before(*, taken: bool) -> None:
    platform, follower = FakePlatform([RUNNING], on_cancel=[CANCELLED]), Leaving()
    submission: Future[tuple[Submitted, Platform]] = Future()
    stop = Stop(lambda _: None, cancels=False)
    stop.watch(submission)
    stop.follow(follower)  # type: ignore[arg-type]  # all that is asked of a follower here
    signalled = threading.Thread(target=stop, args=(signal.SIGINT,))
    signalled.start()
    assert stop.abandoned.wait(10)
    if taken:
        stop.taken.set()
    submission.set_result((WORKLOAD, platform))
    signalled.join(10)
    assert (platform.cancelled.is_set(), follower.left) == (not taken, taken)


def test_lines_are_shown_kept_and_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    log = io.BytesIO()
    show = output(log, several=True)
    show(POD, "token canary é")
    show(f"{WORKLOAD.name}-batch", "\udcff")
    text = "[task-1] token *** é\n"
    assert log.getvalue() == f"{text}[batch] \\udcff\n".encode()
    assert text in capsys.readouterr().out


def test_the_last_lines_of_a_pod_are_few_and_without_our_own_marker() -> None:
    show = output()
    for number in range(LAST_LINES + 5):
        show(POD, f"line {number}")
    show(POD, f"{EXIT_MARKER} {POD} exit code 3")
    lines = show.last_lines(POD).splitlines()
    assert len(lines) == LAST_LINES - 1
    assert lines[-1] == f"    line {LAST_LINES + 4}"
    assert show.last_lines("another") == ""


def test_a_credential_that_expires_leaves_the_job_alone() -> None:
    platform = FakePlatform([RUNNING, DeniedError("no more", status=401)])
    with pytest.raises(UnreachableError, match=f"{WORKLOAD.name} may still run") as caught:
        watch(watched(platform), output(), stop=Stop(lambda _: None, cancels=False), say=lambda _: None)
    assert f"nemotron jobs status {WORKLOAD.name}" in (caught.value.remedy or "")


def accepted(platform: Platform) -> Future[tuple[Submitted, Platform]]:
    future: Future[tuple[Submitted, Platform]] = Future()
    future.set_result((WORKLOAD, platform))
    return future


class Leaving:
    """Remembers that it was told to leave."""

    left = False

    def leave(self) -> None:
        self.left = True


@pytest.mark.parametrize("cancels", [False, True])
def test_the_first_signal_leaves_or_cancels(*, cancels: bool) -> None:
    platform, follower, said = FakePlatform([RUNNING], on_cancel=[CANCELLED]), Leaving(), list[str]()
    stop = Stop(said.append, cancels=cancels)
    stop.watch(accepted(platform))
    stop.follow(follower)  # type: ignore[arg-type]  # all that is asked of a follower here
    stop(signal.SIGINT)
    stop(signal.SIGTERM)
    assert (platform.cancelled.is_set(), follower.left) == (cancels, not cancels)
    assert said == ([f"stopping {WORKLOAD.name}"] if cancels else [])


def test_a_job_that_cannot_be_stopped_is_left() -> None:
    platform, follower, said = FakePlatform([RUNNING], on_cancel=UnreachableError("away")), Leaving(), list[str]()
    stop = Stop(said.append, cancels=True)
    stop.watch(accepted(platform))
    stop.follow(follower)  # type: ignore[arg-type]  # as above
    stop(signal.SIGINT)
    assert follower.left
    assert said[-1] == f"{WORKLOAD.name} could not be stopped: away"


def test_a_second_signal_leaves_a_submission_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LEAVE_S", 0.01)
    stop = Stop(lambda _: None, cancels=False)
    stop.watch(Future())
    stop(signal.SIGKILL)
    assert stop.given_up.is_set()
