"""A cluster of one folder for tests: its scripts run here, and Slurm's programs say what a test has written down."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

from nemo_runspec.platforms.shell import Answer
from nemo_runspec.platforms.workload import Submitted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.errors import PlatformError

NAME = "train-abc123"
JOB = Submitted("slurm", "job", "42", NAME)


class Cluster:
    """Runs scripts in this machine's bash, with nothing but made-up programs of Slurm's.

    Args:
        folder: Everything of it: `home` is the folder with the jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.job = self.home / "jobs" / NAME
        self.errors: list[PlatformError] = []
        """Raised by the next calls, one after the other, instead of running anything."""
        self.scripts: list[str] = []
        """The names of the scripts that were run."""
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in ("logs", "exit"):
            (self.job / name).mkdir(parents=True)

    @property
    def label(self) -> str:
        return "the login node"

    def program(self, name: str, out: str = "", *, code: int = 0, then: str = "") -> None:
        """Let a program print something and end; its arguments are noted in `calls`.

        Args:
            name: Its name.
            out: What it prints.
            code: Its exit code.
            then: A line of shell before it prints.
        """
        path = self._bin / name
        calls = shlex.quote(str(self.home.parent / f"{name}.calls"))
        path.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "$*" >>{calls}\n{then}\nprintf %s {shlex.quote(out)}\nexit {code}\n'
        )
        path.chmod(0o755)

    def slurm(self, *, queue: str = "", control: str = "", account: str = "") -> None:
        """Let squeue, scontrol and sacct answer."""
        self.program("squeue", queue)
        self.program("scontrol", control)
        self.program("sacct", account)

    def calls(self, name: str) -> list[str]:
        """Give the arguments of each call of a program."""
        path = self.home.parent / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def bash(
        self,
        script: Path,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        on_error_line: Callable[[str], None] | None = None,
    ) -> Answer:
        assert on_error_line is None
        self.scripts.append(script.stem)
        if self.errors:
            raise self.errors.pop(0)
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "-c", script.read_text(), "script", *arguments],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": f"{self._bin}:/usr/bin:/bin", "SQUEUE_STATES": "PENDING", "SLURM_TIME_FORMAT": "%s"},
        )
        return Answer(done.returncode, done.stdout, done.stderr.decode())

    def send_tree(self, source: Path, target: str, *, basis: str | None = None, timeout_s: float = 600.0) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass
