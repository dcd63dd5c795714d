"""A platform for tests: it answers with one state after the other, and keeps what it was asked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.workload import JobState, Request, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORKLOAD = Submitted("lepton", "job", "sft-ab12cd", "sft-ab12cd")
QUEUED, RUNNING = Seen(JobState.QUEUED, "Queueing"), Seen(JobState.RUNNING, "Running")
FAILED, SUCCEEDED = Seen(JobState.FAILED, "Failed"), Seen(JobState.SUCCEEDED, "Completed")
CANCELLED = Seen(JobState.CANCELLED, "Stopped")


class FakePlatform:
    """Gives the states in turn, the last one for ever; the first question about pods meets a platform that is away.

    Args:
        states: What `look` gives, or raises.
        logs: Pod -> its lines; the line `denied` is refused.
        on_cancel: The states after a cancellation.
    """

    def __init__(
        self,
        states: Sequence[Seen | Exception],
        logs: dict[str, list[str]] | None = None,
        on_cancel: Sequence[Seen] | Exception = (),
    ) -> None:
        self.states = list(states)
        self.logs = logs or {}
        self.on_cancel = on_cancel
        self.looks = 0
        self.asked_for_pods = 0
        self.cancelled = threading.Event()

    def submit(self, request: Request, name: str) -> Submitted:
        raise NotImplementedError

    def find(self, kind: str, name: str) -> Submitted | None:
        raise NotImplementedError

    def read(self, workload: Submitted, name: str) -> bytes | None:  # noqa: ARG002 - it keeps no files
        return None

    def remove(self, workload: Submitted) -> None:
        raise NotImplementedError

    def look(self, workload: Submitted) -> Seen:
        assert workload == WORKLOAD
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        assert workload == WORKLOAD
        self.asked_for_pods += 1
        if self.asked_for_pods == 1:
            message = "not now"
            raise UnreachableError(message)
        return tuple(self.logs)

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        assert workload == WORKLOAD
        for line in self.logs[pod]:
            if line == "denied":
                message = "no logs for you"
                raise DeniedError(message, status=403)
            yield line

    def cancel(self, workload: Submitted) -> None:
        assert workload == WORKLOAD
        self.cancelled.set()
        if isinstance(self.on_cancel, Exception):
            raise self.on_cancel
        self.states[:] = self.on_cancel
