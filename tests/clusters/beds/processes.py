"""Daemons of a bed: started in the foreground, remembered by pid and start time, taken away whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clusters.beds import reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.03
# Another one may work on the same processors; what is awaited comes late then, and is no less right.
_PATIENCE = 3.0
_STOP_S = 10.0
_UNDO_S = 60.0
_COMMAND_S = 60.0

# For root, whose PATH may lack the administrator's programs.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command(*argv: str, text: str = "") -> str:
    """Run one of the system's programs, and give what it printed.

    Args:
        argv: The command.
        text: What it reads.

    Raises:
        OSError: It failed; the message has its words.
    """
    environment = {**os.environ, "PATH": SYSTEM_PATH}
    done = subprocess.run(
        argv, env=environment, input=text, capture_output=True, text=True, check=False, timeout=_COMMAND_S
    )
    if done.returncode:
        message = f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        raise OSError(message)
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked again and again, about 30 times a second.
        seconds: How long at most on a machine that does nothing else; several times as long on any.
        what: What is waited for, for the message.

    Raises:
        TimeoutError: It did not come to hold in time.
    """
    deadline = time.monotonic() + seconds * _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            message = f"after {seconds * _PATIENCE:g} s still no {what}"
            raise TimeoutError(message)
        time.sleep(_POLL_S)


@dataclass(frozen=True)
class Daemon:
    """A process that stays in the foreground of its own session.

    Args:
        name: What messages call it.
        log: Where its output goes.
        process: The process itself.
        started: When it started, so that its number is never taken for another's.
    """

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    started: int | None

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it with a signal, and by force where that does not work."""
        if self.running():
            self.process.send_signal(number)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_S)

    def wait_ready(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds, or say what the daemon wrote before it ended.

        Raises:
            TimeoutError: It did not come to hold, or the daemon ended.
        """

        def settled() -> bool:
            return not self.running() or condition()

        try:
            wait_until(settled, seconds, f"answer of {self.name}")
        except TimeoutError as error:
            message = f"{error}:\n{self.tail()}"
            raise TimeoutError(message) from None
        if not self.running():
            message = f"{self.name} ended with {self.process.returncode}:\n{self.tail()}"
            raise TimeoutError(message)

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


class Keeper:
    """What a bed has made, and the process that takes it away again."""

    def __init__(self) -> None:
        self._daemons: list[Daemon] = []
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def undo(self, action: str, *values: str | int) -> None:
        """Remember something to undo: one of `reaper.ACTIONS`. Said before the thing is made, where that is possible.

        Raises:
            ValueError: There is no such action.
        """
        if action not in reaper.ACTIONS:
            message = f"no such action: {action}"
            raise ValueError(message)
        stdin = self._reaper.stdin
        assert stdin is not None
        stdin.write(json.dumps([action, *values]) + "\n")
        stdin.flush()

    def start(self, name: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Daemon:
        """Start a daemon in a session of its own, so that Ctrl-C does not reach it."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                cwd="/",
                start_new_session=True,
            )
        start = reaper.started(process.pid)
        if start is not None:
            self.undo("process", process.pid, start)
        daemon = Daemon(name, log, process, start)
        self._daemons.append(daemon)
        return daemon

    def stop(self) -> list[str]:
        """Undo everything, and give what could not be undone."""
        try:
            complaints, _ = self._reaper.communicate(timeout=_UNDO_S)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.communicate()
            return [f"not everything was undone within {_UNDO_S:g} s"]
        for daemon in self._daemons:
            daemon.stop(signal.SIGKILL)
        return complaints.splitlines()
