"""Runs the command of the job: passes on its output and the platform's signals, and takes its exit code."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNAL_BASE = 128
BLOCK = 1 << 16
PASSED_ON = (signal.SIGTERM, signal.SIGINT)

GRACE_S = 25.0
"""After a signal, what the command has started may end too; platforms kill after 30 s."""

POLL_S = 0.1


class Output:
    """Standard output and the log file of this pod, which get the same bytes."""

    def __init__(self, log: Path | None = None) -> None:
        """Open the log, or do without it where its volume does not take it.

        Args:
            log: The file to append to, or None for standard output alone.
        """
        self.handles = [1]
        self.line_ended = True
        if log is not None:
            try:
                self.handles.append(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600))
            except OSError as error:
                self.say(f"no copy of the output is kept: {error}")

    def write(self, data: bytes) -> None:
        """Write bytes as they are; where a volume is full or nobody reads, the other one still gets them."""
        for handle in tuple(self.handles):
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(handle, rest) :]
            except OSError:
                self.handles.remove(handle)
        self.line_ended = data.endswith(b"\n") if data else self.line_ended

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self.write((b"" if self.line_ended else b"\n") + text.encode("utf-8", "replace") + b"\n")


class Signals:
    """The signals that reach this process, as something that can be waited for together with output."""

    def __init__(self) -> None:
        """Make the pipe through which they are told."""
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self.writing, False)

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signals for the time being."""
        before = {number: signal.signal(number, _told) for number in (*PASSED_ON, signal.SIGCHLD)}
        wakeup = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def arrived(self) -> set[int]:
        """Give those that have arrived since the last time."""
        try:
            return set(os.read(self.reading, BLOCK))
        except BlockingIOError:
            return set()


def _told(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe. A handler has to be there for that."""


def run(command: Sequence[str], environ: Mapping[str, str], folder: Path, output: Output, signals: Signals) -> int:
    """Run a command to its end.

    It leads a group of its own, which gets SIGTERM and SIGINT once each. As process 1 of a container this one also
    takes the exit status of processes whose parents have ended.

    Args:
        command: Program and arguments.
        environ: Its whole environment.
        folder: Where it starts.
        output: Takes its output and its errors, in the order in which they are written.
        signals: What has reached this process, and will; the caller has them caught.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it, 127 where there is no such program, 126
        where it cannot be executed.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        output.say(f"cannot start {command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    with process.stdout as stream:  # type: ignore[union-attr]  # there is one, with PIPE above
        status, signalled = _attend(process.pid, stream.fileno(), signals, output)
        process.returncode = status  # its status is taken; Popen need not ask for it
        if signalled:
            _wait_for_group(process.pid, stream.fileno(), output)
    return SIGNAL_BASE - status if status < 0 else status


def _attend(child: int, pipe: int, signals: Signals, output: Output) -> tuple[int, bool]:
    """Copy output and pass on signals until the child has ended, and copy what it has left in the pipe.

    Returns:
        Its exit code, the negative number of a signal, and whether a signal was passed on to it.
    """
    passed: set[int] = set()
    waiting = [pipe, signals.reading]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        if pipe in ready and not _copy(pipe, output):
            waiting.remove(pipe)  # closed by everybody who had it; the child may still run
        if signals.reading in ready:
            for number in signals.arrived() & (set(PASSED_ON) - passed):
                passed.add(number)
                _signal_group(child, number)
        status = _reap(child)
        if status is not None:
            if pipe in waiting:
                drain(pipe, output)
            return status, bool(passed)


def _reap(child: int) -> int | None:
    """Take the status of every process that has ended, and give the child's."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == child:
            found = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _copy(pipe: int, output: Output) -> bool:
    """Copy what is there; False at the end."""
    data = os.read(pipe, BLOCK)
    output.write(data)
    return bool(data)


def drain(pipe: int, output: Output) -> None:
    """Copy what is in a pipe now, without waiting for whoever else may hold its other end."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while _copy(pipe, output):
            pass


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(leader, number)


def _wait_for_group(leader: int, pipe: int, output: Output) -> None:
    """Let the rest of a group end in its own time: a shell dies at once, and training saves a checkpoint first."""
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        _reap(leader)
        drain(pipe, output)
        try:
            os.killpg(leader, 0)
        except OSError:
            return  # nobody is left, or nobody whom we may ask
        select.select([], [], [], POLL_S)
