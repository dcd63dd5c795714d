"""Scripts and folders on this machine, as if it were another one: for a launcher that runs on the cluster itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ended_when_abandoned
from nemo_runspec.platforms.shell import Answer
from nemo_runspec.platforms.shell.program import Run
from nemo_runspec.platforms.shell.running import OverdueError, run
from nemo_runspec.platforms.shell.transfer import BUSY, LOCK, LOCK_WAIT_S, arguments, sent_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT: Final = frozenset(
    (
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LD_LIBRARY_PATH", "SLURM_CONF", "TMPDIR", "TZ"),
        *("SSH_AUTH_SOCK", "KRB5CCNAME"),
    )
)
"""What a login would set, also for git and file systems that ask who one is: nothing else of this process's environment
reaches a script, and through it a job."""


class LocalShell:
    """This machine."""

    @property
    def label(self) -> str:
        """Name the machine for messages."""
        return "this machine"

    def bash(
        self,
        script: Path,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        on_error_line: Callable[[str], None] | None = None,
    ) -> Answer:
        """Run a script here; see `Shell.bash`.

        Raises:
            UnreachableError: It did not end in time, or was killed.
        """
        started = Run(script, arguments, on_error_line)
        try:
            ended = run(
                ["bash", "--noprofile", "--norc", "-c", started.command],
                until=time.monotonic() + timeout_s,
                stdin=stdin,
                env=_environment(),
                on_error=started.error,
            )
        except OverdueError as overdue:
            message = f"{self.label} did not answer {script.stem} within {timeout_s:g} s"
            raise UnreachableError(message) from overdue
        if started.code is None:
            message = f"{script.stem} was killed on {self.label}"
            raise UnreachableError(message)
        return Answer(started.code, started.out(ended.out), started.err)

    @ended_when_abandoned()
    def send_tree(self, source: Path, target: str, *, basis: str | None = None, timeout_s: float = 600.0) -> int:
        """Make a folder equal to another one; see `Shell.send_tree`.

        Raises:
            UnreachableError: It took too long.
            RefusedError: It cannot be written there, or rsync is missing.
        """
        absolute = str(Path(target).absolute())  # a relative one with a colon would name a host
        lock = str(Path(absolute).parent / LOCK)
        waiting = ["flock", "-w", str(LOCK_WAIT_S), "-E", str(BUSY)]
        try:
            ended = run(
                [*waiting, lock, "rsync", *arguments(source, absolute, basis)],
                until=time.monotonic() + timeout_s,
                env=_environment() | {"LC_ALL": "C"},
            )
        except OverdueError as overdue:
            message = f"the transfer to {target} did not end within {timeout_s:g} s"
            raise UnreachableError(message) from overdue
        except FileNotFoundError as failure:
            message = "there is no program 'flock' on this machine"
            raise RefusedError(message, remedy="Install util-linux.") from failure
        return sent_bytes(ended, self.label, target)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
