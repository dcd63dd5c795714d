"""Running a program of this machine to its end: what it reads and writes, and a deadline."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.platforms.abandoning import POLL_S, AbandonedError, refuse_to_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BLOCK: Final = 1 << 16
_GRACE_S: Final = 1.0
"""Between SIGTERM and SIGKILL for a program that nobody waits for any more: an srun then ends what it has started."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended.

    Args:
        code: Its exit code; negative for a signal.
        out: Its standard output.
        err: Its standard error.
    """

    code: int
    out: bytes
    err: bytes


class OverdueError(Exception):
    """A program did not end in time, and was killed with all that it had started.

    Args:
        out: What it had written to its standard output.
        err: What it had written to its standard error.
    """

    def __init__(self, out: bytes, err: bytes) -> None:
        """Keep what it had said."""
        super().__init__("it took too long")
        self.out = out
        self.err = err


def run(
    argv: Sequence[str],
    *,
    until: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    on_error: Callable[[bytes], None] | None = None,
) -> Ended:
    """Run a program in a session of its own, so that a Ctrl-C at the terminal is not meant for it.

    Args:
        argv: The program and its arguments.
        until: When it is killed, as `time.monotonic` tells the time.
        stdin: What it reads; it need not read all of it.
        env: Its environment; this process's when None.
        on_error: Called with pieces of its standard error as they come.

    Raises:
        OverdueError: It was killed, because it took too long.
        AbandonedError: It was ended, because the submission was given up and it is part of a step that may be ended.
        OSError: It cannot be started.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if env is None else dict(env),
        start_new_session=True,
    )
    written: dict[str, list[bytes]] = {"out": [], "err": []}
    try:
        with process:
            try:
                _exchange(process, stdin, until, written, on_error)
                _wait(process, until)
            except AbandonedError:
                _end(process)
                raise
            finally:
                if process.poll() is None:
                    _kill(process)
    except subprocess.TimeoutExpired as overdue:
        raise OverdueError(b"".join(written["out"]), b"".join(written["err"])) from overdue
    return Ended(process.returncode, b"".join(written["out"]), b"".join(written["err"]))


def _exchange(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    until: float,
    written: Mapping[str, list[bytes]],
    on_error: Callable[[bytes], None] | None,
) -> None:
    """Pass bytes until the program has closed its outputs."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        message = "the program has no pipes"
        raise ValueError(message)
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "out")
        selector.register(process.stderr, selectors.EVENT_READ, "err")
        if rest:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, "in")
        else:
            process.stdin.close()
        while set(selector.get_map()) - {process.stdin.fileno() if not process.stdin.closed else -1}:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            refuse_to_wait()
            for key, _ in selector.select(min(left_s, POLL_S)):
                if key.data == "in":
                    rest = _fed(process.stdin.fileno(), rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        _close(process)
                    continue
                piece = os.read(key.fd, _BLOCK)
                if not piece:
                    selector.unregister(key.fileobj)
                    continue
                written[key.data].append(piece)
                if key.data == "err" and on_error is not None:
                    on_error(piece)
    _close(process)


def _wait(process: subprocess.Popen[bytes], until: float) -> None:
    """Wait for the end of a program that writes nothing any more."""
    while process.poll() is None:
        refuse_to_wait()
        left_s = until - time.monotonic()
        try:
            process.wait(min(max(left_s, 0), POLL_S))
        except subprocess.TimeoutExpired:
            if left_s <= POLL_S:
                raise


def _fed(handle: int, rest: memoryview) -> memoryview:
    """Write what can be written; a program that reads no further has read what it wanted."""
    try:
        return rest[os.write(handle, rest[:_BLOCK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[len(rest) :]


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that leads a process group, and the group, with some time to tidy up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE_S
        while time.monotonic() < end:
            process.poll()  # a zombie would count as one of the group
            os.killpg(process.pid, 0)
            time.sleep(_GRACE_S / 20)
        os.killpg(process.pid, signal.SIGKILL)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that leads a process group, and the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
