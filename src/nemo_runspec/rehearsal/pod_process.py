"""The pods that a sandbox gives back: one that runs in it, and one that could not be started."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import shell_status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from nemo_runspec.rehearsal.pod import PodSpec

CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127
KILL_S: Final = 5.0
"""How long the end of a killed pod may take before what is outside its namespaces is killed too."""


def next_json(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read the next JSON object, which begins and ends with its lines.

    Args:
        stream: What bubblewrap writes to `--info-fd` or `--json-status-fd`.

    Returns:
        The object, or None at the end of the stream.
    """
    text = b""
    for line in stream:
        text += line
        if line.rstrip().endswith(b"}"):
            found: dict[str, Any] = json.loads(text)
            return found
    return None


class SandboxedPod:
    """A pod that bubblewrap runs.

    Args:
        spec: What it was started from.
        process: The outermost of its processes, which ends with it.
        status: Bubblewrap's `--json-status-fd`, from the side that reads; closed when the pod has ended.
        enter: The command that runs another one where the pod's process numbers are known.
        log_size: How long its log was before.
    """

    def __init__(
        self, spec: PodSpec, process: subprocess.Popen[bytes], status: int, enter: Sequence[str], log_size: int
    ) -> None:
        """Wait until it has a first process; that takes some milliseconds."""
        self._spec = spec
        self._process = process
        self._enter = tuple(enter)
        self._log_size = log_size
        self._status = os.fdopen(status, "rb")
        self._lock = threading.Lock()
        self._code: int | None = None
        self._first = (next_json(self._status) or {}).get("child-pid")

    @property
    def spec(self) -> PodSpec:
        """What it was started from."""
        return self._spec

    def poll(self) -> int | None:
        """Give its exit code, 128 and the signal's number for a signal, or None while it runs."""
        returned = self._process.poll()
        return None if returned is None else self._ended(returned)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end and give its exit code; None when the time is over."""
        try:
            return self._ended(self._process.wait(timeout_s))
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL to everything in it after the grace time; returns when it has ended.

        Args:
            grace_s: Seconds. As in a container, the command is its PID namespace's first process, and the kernel keeps
                from that one every signal that it has no handler for.
        """
        self._signal("TERM")
        if self.wait(grace_s) is None:
            self._signal("KILL")
            if self.wait(KILL_S) is None:
                self._process.kill()  # the rest dies with its parent
                self.wait()

    def _signal(self, name: str) -> None:
        """Send a signal to the pod's first process; one that has ended takes none."""
        if self._first is not None and self.poll() is None:
            command = (*self._enter, "sh", "-c", f"kill -s {name} {self._first}")
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _ended(self, returned: int) -> int:
        """Give the exit code, worked out once: only where a command ran does bubblewrap report one."""
        with self._lock:
            if self._code is None:
                reported = (next_json(self._status) or {}).get("exit-code")
                self._status.close()
                self._code = reported if reported is not None else self._failed(returned)
            return self._code

    def _failed(self, returned: int) -> int:
        """Give the exit code of a pod that was killed from outside, or whose command could not be executed."""
        if returned < 0:
            return shell_status(returned)
        command = self._spec.argv[0]
        with self._spec.log.open("r+b") as log:
            log.seek(self._log_size)
            said = log.read().decode(errors="replace").strip()
            reason = said.removeprefix(f"bwrap: execvp {command}: ")
            if reason == said:
                return CANNOT_EXECUTE  # the sandbox itself could not be made, and bubblewrap has said why
            log.write(f"exec {command}: {reason.lower()}\n".encode())
        return NOT_FOUND if reason == os.strerror(errno.ENOENT) else CANNOT_EXECUTE


@dataclass(frozen=True, slots=True)
class EndedPod:
    """A pod that never ran.

    Args:
        spec: What should have been started.
        code: Its exit code.
    """

    spec: PodSpec
    code: int = CANNOT_EXECUTE

    def poll(self) -> int | None:
        """Give its exit code."""
        return self.code

    def wait(self, timeout_s: float | None = None) -> int | None:  # noqa: ARG002 - the interface's
        """Give its exit code."""
        return self.code

    def stop(self, grace_s: float) -> None:
        """Do nothing: it has ended."""
