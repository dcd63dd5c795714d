"""A cloud platform that does what a test says, for the executors' tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_runspec.platforms.workload import JobState, Request, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.errors import PlatformError


@dataclass
class FakePlatform:
    """Remembers what it is asked, and answers as told.

    Args:
        states: What `look` answers, one after the other; the last one stays.
        logs: Pod -> its lines.
        refusal: What `submit` raises.
    """

    states: list[JobState] = field(default_factory=lambda: [JobState.SUCCEEDED])
    logs: dict[str, list[str]] = field(default_factory=dict)
    refusal: PlatformError | None = None
    looks: int = 0
    sent: list[tuple[str, Request]] = field(default_factory=list)
    removed: list[Submitted] = field(default_factory=list)
    cancelled: list[Submitted] = field(default_factory=list)

    def submit(self, request: Request, name: str) -> Submitted:
        self.sent.append((name, request))
        if self.refusal is not None:
            raise self.refusal
        return Submitted(request.platform, request.kind, f"id-of-{name}", name)

    def look(self, workload: Submitted) -> Seen:  # noqa: ARG002 - every workload is in the same state
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Seen(state, state.value.title())

    def find(self, kind: str, name: str) -> Submitted | None:
        found = [request for sent, request in self.sent if sent == name]
        return Submitted(found[0].platform, kind, f"id-of-{name}", name) if found else None

    def read(self, workload: Submitted, name: str) -> bytes | None:  # noqa: ARG002 - it keeps no files
        return None

    def remove(self, workload: Submitted) -> None:
        self.removed.append(workload)

    def pods(self, workload: Submitted) -> tuple[str, ...]:  # noqa: ARG002 - every workload has the same pods
        return tuple(self.logs)

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:  # noqa: ARG002 - see above
        yield from self.logs[pod]

    def cancel(self, workload: Submitted) -> None:
        self.cancelled.append(workload)
        self.states = [JobState.CANCELLED]
