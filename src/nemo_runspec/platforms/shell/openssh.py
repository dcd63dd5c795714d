"""Scripts and folders on another machine through the system's OpenSSH and rsync.

Whatever the user has set up for `ssh` counts here too: aliases, jump hosts, agents, hardware keys.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ended_when_abandoned
from nemo_runspec.platforms.shell import Answer
from nemo_runspec.platforms.shell.master import Master, environment
from nemo_runspec.platforms.shell.program import Run
from nemo_runspec.platforms.shell.running import Ended, OverdueError, run
from nemo_runspec.platforms.shell.transfer import LOCK, LOCK_WAIT_S, arguments, sent_bytes
from nemo_runspec.platforms.shell.troubles import trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nemo_runspec.platforms.shell import Host

AT_ONCE: Final = 8
"""Calls at a time: sshd takes ten over one connection, of which the connection itself needs one."""

_CONNECTION_FAILED: Final = 255


class SshShell:
    """A machine that is reached through SSH.

    Args:
        host: The machine.

    Raises:
        RefusedError: The host, its user, its port or a path is none that OpenSSH can be told.
        DeniedError: A file that is named is not there.
    """

    def __init__(self, host: Host) -> None:
        """Open nothing yet."""
        self._host = host
        self._master = Master(host)
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    @property
    def label(self) -> str:
        """Name the machine for messages."""
        return self._host.label

    def bash(
        self,
        script: Path,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        on_error_line: Callable[[str], None] | None = None,
    ) -> Answer:
        """Run a script there; see `Shell.bash`.

        Raises:
            UnreachableError: There is no connection, it was lost, or the script did not end in time.
            DeniedError: The machine does not let us in, or is not who it should be, or lets us run nothing.
        """
        until = time.monotonic() + timeout_s
        started = Run(script, arguments, on_error_line)
        with self._slot(until):
            argv = ["ssh", *self._master.options(until), "--", self._host.host, started.command]
            try:
                ended = run(argv, until=until, stdin=stdin, env=environment(), on_error=started.error)
            except OverdueError as overdue:
                if not started.started:
                    self._master.doubt()
                message = f"{self.label} did not answer {script.stem} within {timeout_s:g} s"
                raise UnreachableError(message) from overdue
        if started.code is None:
            raise self._cut(started, ended)
        return Answer(started.code, started.out(ended.out), started.err)

    def _cut(self, started: Run, ended: Ended) -> PlatformError:
        """Say why a script has not come to its end."""
        said = ended.err.decode(errors="replace").strip()
        if started.started:
            return UnreachableError(f"the connection to {self.label} was lost")
        if ended.code == _CONNECTION_FAILED:
            return trouble(self._host, said)
        line = (said or ended.out.decode(errors="replace").strip()).rpartition("\n")[2]
        message = f"{self.label} lets us in, and does not run bash (exit code {ended.code}): {line}"
        return DeniedError(message, remedy="Use an account whose login shell runs commands.")

    @ended_when_abandoned()
    def send_tree(self, source: Path, target: str, *, basis: str | None = None, timeout_s: float = 600.0) -> int:
        """Make a folder there equal to one here; see `Shell.send_tree`.

        Raises:
            UnreachableError: There is no connection, it was lost, or it took too long.
            DeniedError: The machine does not let us in, or is not who it should be.
            RefusedError: It cannot be written there, or rsync is missing.
        """
        until = time.monotonic() + timeout_s
        host = f"[{self._host.host}]" if ":" in self._host.host else self._host.host
        lock = shlex.quote(str(PurePosixPath(target).parent / LOCK))
        with self._slot(until):
            options = self._master.options(until)
            argv = [
                "rsync",
                f"--rsh=ssh {' '.join(options)}",  # neither needs quotes: both lie in a folder whose name we chose
                f"--rsync-path=flock -w {LOCK_WAIT_S} {lock} rsync",
                *arguments(source, f"{host}:{target}", basis),
            ]
            try:
                ended = run(argv, until=until, env=environment() | {"LC_ALL": "C"})
            except OverdueError as overdue:
                message = f"the transfer to {target} on {self.label} did not end within {timeout_s:g} s"
                raise UnreachableError(message) from overdue
            except FileNotFoundError as failure:
                message = "there is no program 'rsync' on this machine"
                raise RefusedError(message, remedy="Install rsync.") from failure
        return sent_bytes(ended, self.label, target)

    def close(self) -> None:
        """End the connection; later calls open another one."""
        self._master.close()

    @contextlib.contextmanager
    def _slot(self, until: float) -> Iterator[None]:
        """Wait until one more call is possible at the same time."""
        if not self._slots.acquire(timeout=max(until - time.monotonic(), 0)):
            message = f"too many calls of {self.label} at the same time"
            raise UnreachableError(message)
        try:
            yield
        finally:
            self._slots.release()
