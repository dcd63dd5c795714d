"""Watch a submitted job to its end: its output, what a signal to us does, and what its end means for the command."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from nemo_runspec.data_mover import exit_code_of
from nemo_runspec.errors import (
    EXIT_INTERRUPTED,
    DeniedError,
    InterruptedJobError,
    JobFailedError,
    PlatformError,
    UnreachableError,
)
from nemo_runspec.executors.follow import Follower, printable, short_name
from nemo_runspec.platforms.workload import Cause, JobState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.executors.follow import Ending
    from nemo_runspec.platforms.workload import Platform, Submitted

EXIT_LOST: Final = 1
"""A job that failed without telling its exit code, or of which nobody knows how it ended."""

EXIT_CANCELLED: Final = 143
"""A job that somebody else stopped, as a shell tells of a process that SIGTERM ended."""

EXIT_NOT_FOUND: Final = 127
"""What a shell ends with where there is no such program."""

EXIT_OF_CAUSE: Final = {
    Cause.TIMEOUT: 124,  # as timeout(1)
    Cause.MEMORY: 137,  # as a shell tells of a process that the kernel has killed
    Cause.NODE: 75,  # EX_TEMPFAIL of sysexits.h: the same command may well succeed
    Cause.PREEMPTED: 75,
    Cause.NEVER: EXIT_LOST,
    Cause.LAUNCH: EXIT_LOST,
}
"""What the command ends with where the job's own program did not end by itself."""

LEAVE_S: Final = 5.0
"""How long one who does not want to wait waits for a request that is under way."""

LAST_LINES: Final = 20
"""How many lines of a failed pod are shown again below everything."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A job to watch, and for whom.

    Args:
        platform: Where it runs.
        workload: What it is there.
        title: What it is called.
        log_path: The file here that keeps its output.
    """

    platform: Platform
    workload: Submitted
    title: str
    log_path: Path


class Stop:
    """What a signal to us does: it gives a submission up; later the first one lets the job go on without us.

    Args:
        say: Called with what is being done.
        cancels: Whether the first signal stops the job instead, and a second one leaves it.
    """

    def __init__(self, say: Callable[[str], None], *, cancels: bool) -> None:
        """Begin before anything is submitted."""
        self.abandoned = threading.Event()
        self.given_up = threading.Event()
        self.taken = threading.Event()
        """Set where the job was submitted before, and is only taken over."""
        self.cancels = cancels
        self._say = say
        self._submission: Future[Future[tuple[Submitted, Platform]]] = Future()
        self._follower: Future[Follower] = Future()
        self._cancelled: Future[None] = Future()

    def watch(self, submission: Future[tuple[Submitted, Platform]]) -> None:
        """Take over the submission."""
        self._submission.set_result(submission)

    def follow(self, follower: Follower) -> Follower:
        """Take over who is to be told to leave."""
        self._follower.set_result(follower)
        return follower

    def __call__(self, number: int) -> None:
        """Answer a signal; called from a thread of its own."""
        submission = self._submission.result()
        if number == signal.SIGKILL:
            self._leave(submission)
        elif not self.abandoned.is_set():
            self.abandoned.set()
            gives_up = not submission.done()
            if gives_up:
                self._say("giving the submission up")
            if submission.exception() is None:
                # What the platform accepts all the same is nobody's wish any more; what ran before goes on.
                self.cancels = self.cancels or (gives_up and not self.taken.is_set())
                self._answer(*submission.result())

    def _answer(self, workload: Submitted, platform: Platform) -> None:
        if not self.cancels:
            self._follower.result().leave()
            return
        self._say(f"stopping {workload.name}")
        try:
            platform.cancel(workload)
        except PlatformError as error:
            self._say(f"{workload.name} could not be stopped: {error}")
            self._follower.result().leave()
        finally:
            self._cancelled.set_result(None)

    def _leave(self, submission: Future[tuple[Submitted, Platform]]) -> None:
        # The request to stop is under way: to leave it behind would leave the workload running.
        wait([submission], timeout=LEAVE_S)
        if not submission.done():
            self.given_up.set()
        elif submission.exception() is None:
            if self.cancels:
                wait([self._cancelled], timeout=LEAVE_S)
                self._say(f"not waiting any longer for {submission.result()[0].name} to stop")
            self._follower.result().leave()


class Output:
    """Shows and keeps the lines of all pods; with more than one of them, each line says which one it is from.

    Args:
        workload: The workload.
        several: Whether it has more than one pod.
        log: Where the lines are kept.
        redact: Takes secrets out of a line.
        quiet: Whether the lines are only kept.
    """

    def __init__(
        self,
        workload: Submitted,
        *,
        several: bool,
        log: BinaryIO,
        redact: Callable[[str], str],
        quiet: bool = False,
    ) -> None:
        """Begin with nothing shown."""
        self._quiet = quiet
        self._workload = workload
        self._several = several
        self._log = log
        self._redact = redact
        self._last: dict[str, deque[str]] = {}

    def __call__(self, pod: str, line: str) -> None:
        """Show a line of a pod; calls do not overlap."""
        clean = self._redact(line)
        self._last.setdefault(pod, deque(maxlen=LAST_LINES)).append(clean)
        text = f"[{short_name(pod, self._workload.name)}] {clean}\n" if self._several else f"{clean}\n"
        self._log.write(text.encode(errors="backslashreplace"))
        self._log.flush()
        if self._quiet:
            return
        # A character that the terminal does not have must not end the log.
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    def last_lines(self, pod: str) -> str:
        """Give the end of a pod's output."""
        return "\n".join(f"    {line}" for line in self._last.get(pod, ()) if exit_code_of(line) is None)


def watch(job: Watched, show: Output, *, stop: Stop, say: Callable[[str], None]) -> Ending:
    """Follow a job until it has ended, or a signal has let it go on without us.

    Raises:
        UnreachableError: The credential is not accepted any more; the job goes on.
    """
    follower = stop.follow(Follower(job.platform, job.workload, show=show, say=say))
    try:
        return follower.run()
    except DeniedError as error:
        message = f"{job.workload.name} may still run, and is not watched any longer: {error.message}"
        remedy = f"{error.remedy or ''} Then: nemotron jobs status {job.workload.name}".strip()
        raise UnreachableError(message, status=error.status, remedy=remedy) from error


def raise_for_ending(job: Watched, ending: Ending, output: Output, *, interrupted: bool, cancelled: bool) -> None:
    """Turn the end of a job into the error to end with; success passes.

    Args:
        job: The job.
        ending: How it ended, or how it stood when it was left.
        output: What it printed.
        interrupted: Whether a signal to us has ended the watch.
        cancelled: Whether that signal was meant to stop the job.

    Raises:
        InterruptedJobError: A signal has ended the job, or the watch.
        JobFailedError: It failed, was stopped by somebody else, or is lost.
    """
    name, workload = job.title, job.workload
    where = f"Its output is kept in {job.log_path}."
    if interrupted and not ending.state.is_final:
        message = f"{name} goes on as {workload.name}, and is not watched any longer"
        if cancelled:
            message = f"{name} may still run as {workload.name}: it did not stop in time"
        remedy = f"Follow it: nemotron jobs reattach {workload.name}\n  End it:    nemotron jobs cancel {workload.name}"
        raise InterruptedJobError(message, remedy=remedy)
    if interrupted and cancelled and ending.state is not JobState.SUCCEEDED:
        message = f"{name} was stopped: {workload.name} is {ending.state.value}"
        raise InterruptedJobError(message, remedy=f"Run the same command again to go on. {where}")
    if ending.state is JobState.SUCCEEDED:
        return
    code, message = _failure(name, workload, ending, output)
    if code == EXIT_NOT_FOUND:
        where = f"It, or a program that it starts, was not found there: see PATH and the container image. {where}"
    if code == EXIT_INTERRUPTED:
        raise InterruptedJobError(message, remedy=where)
    raise JobFailedError(message, exit_code=code, remedy=where)


def _failure(name: str, workload: Submitted, ending: Ending, output: Output) -> tuple[int, str]:
    seen = ending.seen
    if ending.state is JobState.FAILED and seen.cause is not None:
        word = f" ({seen.word})" if seen.word else ""
        return EXIT_OF_CAUSE[seen.cause], f"{name} failed as {workload.name}: {seen.cause.value}{word}"
    if ending.state is JobState.FAILED and seen.exit_code:
        return seen.exit_code, f"{name} ended with exit code {seen.exit_code} as {workload.name}"
    if ending.state is JobState.FAILED and ending.failure is not None:
        pod, code = ending.failure
        return code, f"{name} ended with exit code {code} in {pod}, whose last lines were:\n{output.last_lines(pod)}"
    return {
        JobState.FAILED: (EXIT_LOST, f"{name} failed, and no pod has told an exit code"),
        JobState.CANCELLED: (EXIT_CANCELLED, f"{name} was cancelled as {workload.name}"),
        JobState.LOST: (EXIT_LOST, f"{name} is lost: {workload.id} is not known any more, and how it ended neither"),
    }[ending.state]
