"""A lock between processes and threads that the kernel ends with its holder, and that nobody waits for without end."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import NemotronError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FIRST_WAIT_S: Final = 0.005
_LONGEST_WAIT_S: Final = 0.5


@contextmanager
def held(
    path: Path,
    *,
    deadline_s: float,
    what: str,
    waiting: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a lock for as long as the body runs. Its file is there only as long as somebody holds it.

    Args:
        path: The lock's file, in a private folder that is there.
        deadline_s: How long to wait for another holder, in seconds.
        what: What the lock is for, for messages: "submitting x".
        waiting: Called once with a message, when the wait is no moment any more.
        sleep: Waits for so many seconds.

    Raises:
        UnreachableError: Another one holds it all the time.
        NemotronError: The file system of the folder has no locks.
    """
    end = time.monotonic() + deadline_s
    wait_s = _FIRST_WAIT_S
    told = False
    while (descriptor := _taken(path)) is None:
        if time.monotonic() >= end:
            message = f"{holder(path)} has been {what} for {deadline_s:.0f} s, and still is"
            raise UnreachableError(message, remedy="Wait for its end, or stop it, and try again.")
        if not told and wait_s >= _LONGEST_WAIT_S:
            told = True
            waiting(f"waiting for {holder(path)}, which is {what}; {deadline_s:.0f} s at most")
        sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is given up: who takes it looks whether the file is still there
        os.close(descriptor)


def _taken(path: Path) -> int | None:
    """Take the lock where it is free, and give its file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = path.stat()
        here = os.fstat(descriptor)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # another one's, or one whose holder has just removed the file
    except OSError as error:
        os.close(descriptor)
        message = f"{path.parent} is on a file system without locks: {error.strerror}"
        raise NemotronError(message, remedy="Set NEMORUN_HOME to a folder on a disk of this machine.") from error
    os.close(descriptor)
    return None


def is_held(path: Path) -> bool:
    """Tell whether somebody alive holds a lock. Nothing is made, also where its folder cannot be written.

    Args:
        path: The lock's file, which need not be there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> str:
    """Name who holds a lock, for messages.

    Args:
        path: The lock's file.
    """
    try:
        pid = path.read_text(encoding="utf-8")
    except OSError:
        pid = ""
    return f"another process ({pid})" if pid.isdecimal() else "another process"
