"""One connection of OpenSSH that many calls share, and that ends with this process, however that ends.

The connection's own command is a `cat` that reads from a pipe of this process: when the process is gone, killed or not,
the pipe is closed, the `cat` ends, and with it the connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import select
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from nemo_runspec.errors import PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import POLL_S, AbandonedError, refuse_to_wait
from nemo_runspec.platforms.shell.ssh_config import ssh_config
from nemo_runspec.platforms.shell.troubles import trouble

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Host

_SOCKET_PATH: Final = 80
"""Longest path of the folder: the name of a socket has 107 bytes, of which OpenSSH takes 17 while it makes it."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./+=:@,-]+")
"""Paths that ssh, which fills in what begins with `%` or `${`, and rsync, which splits at blanks, take as they are."""
_PREFIX: Final = "nr-"
_CONFIG: Final = "config"
_NEW_S: Final = 60.0
"""So long a folder is given to be made, in seconds."""
_ASK: Final = "SSH_ASKPASS"
_OPEN_S: Final = 20.0
_END_S: Final = 2.0
_BLOCK: Final = 4096


class _Connection:
    """A running ssh that listens for other calls at a socket."""

    def __init__(self, host: Host, folder: Path, number: int) -> None:
        """Start it; whether it gets through is not known yet."""
        self._host = host
        self.socket = folder / str(number)
        self._err = folder / f"{number}.err"
        self._mark = secrets.token_hex(8).encode()
        command = f"bash --noprofile --norc -c 'echo {self._mark.decode()}; exec cat > /dev/null'"
        argv = ["ssh", "-F", str(folder / _CONFIG), "-M", "-S", str(self.socket), "--", host.host, command]
        with self._err.open("wb") as err:
            try:
                self.process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    env=environment(),
                    start_new_session=True,
                )
            except FileNotFoundError as failure:
                message = "there is no program 'ssh' on this machine"
                raise RefusedError(message, remedy="Install OpenSSH's client.") from failure

    def wait_open(self, until: float) -> None:
        """Wait until it is through.

        Raises:
            PlatformError: As `troubles.trouble` says, it takes too long, or nobody waits any more.
        """
        if self.process.stdout is None:
            message = "the connection has no output"
            raise ValueError(message)
        said, handle = b"", self.process.stdout.fileno()
        while self._mark not in said:
            left_s = until - time.monotonic()
            if left_s <= 0:
                self.kill()
                message = f"{self._host.label} cannot be reached: no answer in time"
                raise UnreachableError(message, remedy="Check host and port in the profile, and the network.")
            try:
                refuse_to_wait()
            except AbandonedError:
                self.kill()
                raise
            if not select.select([handle], [], [], min(left_s, POLL_S))[0]:
                continue
            piece = os.read(handle, _BLOCK)
            if not piece:
                self.kill()
                raise self._trouble(said)
            said = (said + piece)[-_BLOCK:]

    def _trouble(self, said: bytes) -> PlatformError:
        err = self._err.read_text(encoding="utf-8", errors="replace")
        return trouble(self._host, err if err.strip() else said.decode(errors="replace"))

    def is_open(self) -> bool:
        """Tell whether it is still there."""
        return self.process.poll() is None

    def release(self) -> None:
        """Let it end when nobody uses it any more."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def kill(self) -> None:
        """End it."""
        self.release()
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Master:
    """The connection to a host: opened when it is needed, and opened again when it is lost.

    Args:
        host: The machine.

    Raises:
        RefusedError: OpenSSH cannot be told such a host.
        DeniedError: A file that is named is not there.
    """

    def __init__(self, host: Host) -> None:
        """Write nothing and open nothing yet."""
        self._host = host
        self._config = ssh_config(host)
        self._kept = _Kept()
        self._lock = self._kept.lock
        self._number = 0
        self._finalizer = weakref.finalize(self, self._kept.end_for_good)

    def options(self, until: float) -> list[str]:
        """Give the options with which ssh uses the connection, which is open then.

        Args:
            until: When it has to be open, as `time.monotonic` tells the time.

        Raises:
            PlatformError: It cannot be opened, as `troubles.trouble` says.
        """
        until = min(until, time.monotonic() + _OPEN_S)
        if not self._lock.acquire(timeout=max(until - time.monotonic(), 0)):
            message = f"{self._host.label} cannot be reached: no answer in time"
            raise UnreachableError(message)
        try:
            connection = self._kept.current
            if connection is None or not connection.is_open():
                connection = self._open(until)
            return ["-F", str(connection.socket.parent / _CONFIG), "-S", str(connection.socket)]
        finally:
            self._lock.release()

    def _open(self, until: float) -> _Connection:
        if self._kept.is_over:
            message = f"{self._host.label} is not asked any more: this process ends"
            raise UnreachableError(message)
        self._kept.end_lost()
        folder = self._kept.folder
        if folder is None:
            folder = self._kept.make_folder(self._config)
        self._number += 1
        connection = _Connection(self._host, folder, self._number)
        connection.wait_open(until)
        self._kept.current = connection
        return connection

    def doubt(self) -> None:
        """Use the connection no further, because it does not answer; who still uses it may go on."""
        with self._lock:
            if self._kept.current is not None:
                self._kept.current.release()
                self._kept.old.append(self._kept.current)
                self._kept.current = None

    def close(self) -> None:
        """End everything; a later call opens a connection again."""
        with self._lock:
            self._kept.end()


class _Kept:
    """What has to be ended: apart from its owner, so that it can be ended after that."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.current: _Connection | None = None
        self.old: list[_Connection] = []
        self.lock = threading.Lock()
        self.is_over = False
        self._process = os.getpid()
        self._held: IO[str] | None = None

    def make_folder(self, config: str) -> Path:
        """Make the folder, and hold a lock in it as long as it is used."""
        self.folder = _private_folder()
        self._held = (self.folder / _CONFIG).open("w", encoding="utf-8")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._held.write(config)
        self._held.flush()
        return self.folder

    def end_lost(self) -> None:
        """Tidy up after connections that have ended by themselves."""
        if self.current is not None:
            self.old.append(self.current)
            self.current = None
        for connection in [each for each in self.old if not each.is_open()]:
            connection.kill()
            self.old.remove(connection)

    def end_for_good(self) -> None:
        """End all connections when nobody needs them any more, or this process ends.

        Other threads may still be at work then: their calls fail now, and must not open another connection, of which
        a folder would be left.
        """
        self.is_over = True
        if os.getpid() != self._process:
            return
        is_ours = self.lock.acquire(timeout=_END_S)
        try:
            self.end()
        finally:
            if is_ours:
                self.lock.release()

    def end(self) -> None:
        """End all connections, unless this is a fork of the process that has made them."""
        if os.getpid() != self._process:
            return
        for connection in (*self.old, *([self.current] if self.current is not None else [])):
            connection.kill()
        self.old, self.current = [], None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        if self._held is not None:
            self._held.close()


def environment() -> dict[str, str]:
    """Give ssh's environment: this process's, and no program that asks for passwords."""
    return {name: value for name, value in os.environ.items() if name != _ASK} | {"SSH_ASKPASS_REQUIRE": "never"}


def _private_folder() -> Path:
    """Make a folder that is ours alone, with a path that fits a socket's name and needs no quotes."""
    usual = tempfile.gettempdir()
    fits = len(usual.encode()) + len(f"/{_PREFIX}12345678") <= _SOCKET_PATH and _PLAIN.fullmatch(usual)
    place = Path(usual if fits else "/tmp")  # noqa: S108 - mkdtemp makes it 0700
    _sweep(place)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))


def _sweep(place: Path) -> None:
    """Remove the folders of our processes that were killed: nobody holds their locks any more."""
    for folder in place.glob(f"{_PREFIX}????????"):
        # Another process may sweep at the same moment.
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _NEW_S:
                continue
            with (folder / _CONFIG).open(encoding="utf-8") as config:
                fcntl.flock(config, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
