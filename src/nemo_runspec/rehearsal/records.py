"""What a cluster remembers of workloads and pods; only its own thread changes it, under its lock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_runspec.rehearsal.workloads import Order, Phase, PodSeen, WorkloadSeen

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.rehearsal.pod import Pod, PodSpec


@dataclass(slots=True)
class PodRecord:
    """One pod of a workload, from its first run on this network to its last.

    Args:
        spec: What it is started from.
        index: Its place among the workload's pods.
        runs_before: How many runs its predecessors had, before the workload was stopped or preempted.
        handle: Its latest run.
        exit_code: Of its latest run, once that has ended.
        attempt: How often it was started again.
        ready_s: Unix time from which it is ready.
        restart_s: Unix time at which it will be started again, if it will.
        is_stopping: Whether its latest run was asked to end.
    """

    spec: PodSpec
    index: int
    runs_before: int = 0
    handle: Pod | None = None
    exit_code: int | None = None
    attempt: int = 0
    ready_s: float = math.inf
    restart_s: float | None = None
    is_stopping: bool = False

    @property
    def log(self) -> Path:
        """The file for the output of its latest run; each run has its own."""
        path, run = self.spec.log, self.runs_before + self.attempt
        return path.with_name(f"{path.stem}.{run}{path.suffix}") if run else path

    @property
    def is_running(self) -> bool:
        """Whether its latest run goes on."""
        return self.handle is not None and self.exit_code is None

    @property
    def has_ended(self) -> bool:
        """Whether its last run is over."""
        return self.exit_code is not None and self.restart_s is None

    def seen(self, now: float) -> PodSeen:
        """Give how it stands as a value."""
        started = self.handle is not None or self.exit_code is not None
        ready = self.is_running and now >= self.ready_s
        return PodSeen(
            name=self.spec.name,
            index=self.index,
            exit_code=self.exit_code,
            restarts=self.attempt,
            log=self.log,
            is_started=started,
            is_ready=ready,
            was_stopped=self.is_stopping,
        )


@dataclass(slots=True)
class WorkRecord:
    """One workload.

    Args:
        key: Tells it from every other.
        order: What was accepted.
        words: The states that it passes before it has pods, in the platform's words.
        created_s: Unix time of its creation.
        due_s: Unix time until which its state is held.
        step: Which of `words` it is at.
        phase: Where it is in its life.
        wanted: What was asked for: RUNNING, STOPPED or DELETED.
        is_failing: Whether its remaining pods are being ended because one has failed.
        is_preempted: Whether they are being ended because something else has taken their place.
        has_network: Whether the runner holds a network for it.
        restarts: How many failures were answered with a restart.
        runs_before: As in `PodRecord`, for the pods that come next.
        pods: Its pods; none before it runs.
        finished_s: Unix time of its end.
        history: Each phase with the Unix time of its beginning.
    """

    key: int
    order: Order
    words: tuple[str, ...]
    created_s: float
    due_s: float
    step: int = 0
    phase: Phase = Phase.WAITING
    wanted: Phase = Phase.RUNNING
    is_failing: bool = False
    is_preempted: bool = False
    has_network: bool = False
    restarts: int = 0
    runs_before: int = 0
    pods: list[PodRecord] = field(default_factory=list)
    finished_s: float | None = None
    history: list[tuple[float, Phase]] = field(default_factory=list)

    def expiry_s(self) -> float:
        """Give the time until which it is kept."""
        keep_s = self.order.keep_s
        return math.inf if keep_s is None or self.finished_s is None else self.finished_s + keep_s

    def requeue(self, words: tuple[str, ...], due_s: float) -> None:
        """Make it wait for new pods.

        Args:
            words: The states on the way.
            due_s: Unix time until which the first of them is held.
        """
        self.runs_before += 1 + max((pod.attempt for pod in self.pods), default=0)
        self.words, self.step, self.due_s = words, 0, due_s
        self.pods, self.finished_s, self.is_preempted = [], None, False

    def seen(self, now: float) -> WorkloadSeen:
        """Give how it stands as a value."""
        pods = tuple(pod.seen(now) for pod in self.pods)
        return WorkloadSeen(
            key=self.key,
            order=self.order,
            phase=self.phase,
            word=self.words[self.step] if self.phase is Phase.WAITING else "",
            was_ready=bool(self.pods) and all(now >= pod.ready_s for pod in self.pods),
            pods=pods,
            created_s=self.created_s,
            finished_s=self.finished_s,
            history=tuple(self.history),
        )
