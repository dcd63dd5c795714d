"""Who is writing a shard: a file with an owner and a heartbeat, so that two runs share the work, or one inherits it.

A lease is a courtesy that saves work. That a shard is right does not depend on it: shards are written in private
folders and published by one rename, and whoever publishes second finds the same bytes there.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEARTBEAT_S = 5.0
"""How often the owner renews a lease, in seconds."""
EXPIRY_S = 60.0
"""When a lease of another machine counts as left behind. An owner of this machine is looked up instead."""

_GUARD = ".leases"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, such that another one of this machine can tell whether it still runs.

    Args:
        machine: The kernel's boot id and process namespace: process numbers mean the same within it.
        pid: Its number.
        started: When it started, in the kernel's ticks; a number is used again.
        token: Tells apart what one process does one after the other.
    """

    machine: str
    pid: int
    started: str
    token: str

    @classmethod
    def here(cls) -> Owner:
        """Give this process, with a new token."""
        return cls(_machine(), os.getpid(), _started(os.getpid()) or "", secrets.token_hex(8))

    def is_dead(self) -> bool:
        """Tell whether it has surely ended; a process of another machine may always be alive."""
        return self.machine == _machine() and _started(self.pid) != self.started


class Lease:
    """A lease that this process holds.

    Args:
        path: Its file.
        owner: Who holds it.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        """Begin to renew it."""
        self._path = path
        self._owner = owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give it up, unless somebody has taken it meanwhile."""
        self._stop.set()
        self._thread.join()
        with _guarded(self._path.parent):
            if _read(self._path) == self._owner:
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                os.utime(self._path)
            except OSError:
                # Taken over or removed: whoever did so may go on, and this process ends up with the same bytes.
                return


def take_lease(path: Path) -> Lease | None:
    """Take the lease of a shard, if it is free or was left behind.

    Args:
        path: The lease's file; its folder exists.

    Returns:
        The lease, or None while somebody else is at work.
    """
    owner = Owner.here()
    if _create(path, owner):
        return Lease(path, owner)
    with _guarded(path.parent):
        if not _is_left_behind(path):
            return None
        path.unlink(missing_ok=True)
        return Lease(path, owner) if _create(path, owner) else None


def is_free(path: Path) -> bool:
    """Tell whether nobody is at work under a lease."""
    return not path.exists() or _is_left_behind(path)


def _create(path: Path, owner: Owner) -> bool:
    """Make the file with its content in one step: a lease without an owner could not be looked up."""
    new = path.with_name(f".{path.name}.{owner.token}")
    text = json.dumps({"machine": owner.machine, "pid": owner.pid, "started": owner.started, "token": owner.token})
    new.write_text(text, encoding="utf-8")
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError:
        return _create_exclusively(path, text)
    finally:
        new.unlink(missing_ok=True)
    return True


def _create_exclusively(path: Path, text: str) -> bool:
    """Do the same where the file system has no hard links; for a moment the file is empty, which reads as unknown."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> Owner | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Owner(str(document["machine"]), int(document["pid"]), str(document["started"]), str(document["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_left_behind(path: Path) -> bool:
    owner = _read(path)
    if owner is not None and owner.machine == _machine():
        return owner.is_dead()
    try:
        return _now_of(path.parent) - path.stat().st_mtime > EXPIRY_S
    except FileNotFoundError:
        return True


def _now_of(folder: Path) -> float:
    """Give the time as the folder's file system tells it: on a shared one it is the server's, not this machine's."""
    probe = folder / f".now.{secrets.token_hex(8)}"
    try:
        with probe.open("wb") as stream:
            # Of what is open: another run may take its name away as a leftover.
            return os.fstat(stream.fileno()).st_mtime
    finally:
        probe.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed while it looked at a lease has left; others do without their own.

    Args:
        folder: Where the leases are.
    """
    for pattern in (".*.lease.*", ".now.*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Let one process at a time judge a lease and replace it; file systems without locks do without."""
    descriptor = os.open(folder / _GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            # As said in the module's text: without the guard work may be done twice, with the same result.
            yield
            return
        yield
    finally:
        os.close(descriptor)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _started(pid: int) -> str | None:
    """Give when a process started, or None where there is none (a zombie counts as ended)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started
