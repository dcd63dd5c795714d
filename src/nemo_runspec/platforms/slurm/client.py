"""A Slurm cluster as a platform: what is asked of it, and who knows how."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.platforms.slurm import status, stopping, submission
from nemo_runspec.platforms.slurm.logs import RemoteLogs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.http import Patience
    from nemo_runspec.platforms.shell import Shell
    from nemo_runspec.platforms.workload import Request, Seen, Submitted

_READ: Final = Path(__file__).with_name("remote") / "read.sh"


class SlurmClient:
    """Submits jobs to a Slurm cluster and watches them; see `platforms.workload.Platform`.

    Args:
        shell: A login node of the cluster.
        home: The folder there that keeps all jobs and their sources, from the root.
        sources: A folder here for source trees that are being sent.
        patience: How long to wait.
    """

    def __init__(self, shell: Shell, home: str, sources: Path, *, patience: Patience | None = None) -> None:
        """Ask nothing yet."""
        self._shell = shell
        self._home = home
        self._sources = sources
        self._patience = patience
        self._lock = threading.Lock()
        self._logs: dict[str, RemoteLogs] = {}

    def submit(self, request: Request, name: str) -> Submitted:
        """Submit a job, once; see `submission.submit`."""
        return submission.submit(self._shell, self._home, self._sources, request, name, patience=self._patience)

    def find(self, kind: str, name: str) -> Submitted | None:  # noqa: ARG002 - Slurm has one kind of job
        """Look a job up by its unique name; None only where Slurm has said that there is none."""
        return submission.find(self._shell, self._home, name)

    def look(self, workload: Submitted) -> Seen:
        """Say how a job stands."""
        seen = status.look(self._shell, self._home, workload, patience=self._patience)
        self._logs_of(workload).told(seen)
        return seen

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """List the tasks that have a log."""
        return self._logs_of(workload).pods()

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give a task's log line by line until it ends."""
        return self._logs_of(workload).lines(pod)

    def cancel(self, workload: Submitted) -> None:
        """Stop a job, and return when Slurm has stopped it."""
        stopping.cancel(self._shell, self._home, workload, patience=self._patience)

    def read(self, workload: Submitted, name: str) -> bytes | None:
        """Give a small file of a job's folder."""
        answer = self._shell.bash(_READ, self._home, workload.name, name)
        return answer.out if answer.code == 0 else None

    def remove(self, workload: Submitted) -> None:
        """Remove what an ended job has left beside its results."""
        stopping.remove(self._shell, self._home, workload)

    def close(self) -> None:
        """End the connection."""
        self._shell.close()

    def _logs_of(self, workload: Submitted) -> RemoteLogs:
        """Give the one reader of a job's logs, which all threads share."""
        with self._lock:
            if workload.id not in self._logs:
                self._logs[workload.id] = RemoteLogs(self._shell, self._home, workload, patience=self._patience)
            return self._logs[workload.id]
