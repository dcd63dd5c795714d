"""Clusters that answer as a test says, behind the connections of a journal's entries."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_runspec.executors.journal import Entry
from nemo_runspec.platforms.workload import JobState, Request, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.errors import PlatformError


@dataclass
class Cluster:
    """One place.

    Args:
        states: Job's name -> how it stands; the others are not known.
        logs: Job's name -> its lines.
        failure: What every call raises.
        slow: Nothing is answered before it is set.
        ends_as: How a job stands once it is cancelled.
    """

    states: dict[str, Seen] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    failure: PlatformError | None = None
    slow: threading.Event | None = None
    ends_as: Seen = field(default_factory=lambda: Seen(JobState.CANCELLED))
    removed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    looks: int = 0

    def _answer(self) -> None:
        if self.slow is not None:
            self.slow.wait(30)
        if self.failure is not None:
            raise self.failure

    def submit(self, request: Request, name: str) -> Submitted:
        raise NotImplementedError

    def find(self, kind: str, name: str) -> Submitted | None:
        self._answer()
        return Submitted("slurm", kind, f"found-{name}", name) if name in self.states else None

    def look(self, workload: Submitted) -> Seen:
        self._answer()
        self.looks += 1
        return self.states.get(workload.name, Seen(JobState.LOST))

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        self._answer()
        return ("task-0",) if workload.name in self.logs else ()

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        assert pod == "task-0"
        yield from self.logs[workload.name]
        while not self.states.get(workload.name, Seen(JobState.LOST)).state.is_final:
            threading.Event().wait(0.02)

    def cancel(self, workload: Submitted) -> None:
        self._answer()
        self.cancelled.append(workload.name)
        self.states[workload.name] = self.ends_as

    def remove(self, workload: Submitted) -> None:
        self._answer()
        self.removed.append(workload.name)


def entry(name: str, host: str = "a", *, job: str = "12", **more: str) -> Entry:
    """Give the record of a job on a cluster."""
    fields = {"title": "sft", "profile": f"at-{host}", "pod_job_dir": f"/h/jobs/{name}", **more}
    connection = {"profile": f"at-{host}", "host": host, "home": "/h", "tunnel": "ssh"}
    return Entry(
        platform="slurm",
        kind="job",
        name=name,
        id=job,
        connection=connection,
        nodes=1,
        told=True,
        **fields,  # type: ignore[arg-type]  # texts only
    )
