"""Workloads as values: what a twin's API asks the machine to run, and how that stands."""

from __future__ import annotations

import enum
import secrets
import string
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.rehearsal.pod import PodSpec


_LETTERS: Final = string.ascii_lowercase + string.digits


def random_letters(count: int) -> str:
    """Give small letters and digits, as the platform appends them to names."""
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


class Phase(enum.Enum):
    """Where a workload is in its life, in words of no platform."""

    WAITING = "waiting"
    """It has no pods yet."""
    RUNNING = "running"
    RETRYING = "retrying"
    """A pod has failed, and its next run is decided on."""
    RESTARTING = "restarting"
    """It is about to be started again, or all pods are, on what else becomes free."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETING = "deleting"
    DELETED = "deleted"
    ARCHIVED = "archived"
    """It was finished for as long as it asked to be kept."""

    @property
    def is_gone(self) -> bool:
        """Whether only the archive has it."""
        return self in {Phase.DELETED, Phase.ARCHIVED}

    @property
    def is_finished(self) -> bool:
        """Whether it ended by itself."""
        return self in {Phase.COMPLETED, Phase.FAILED}

    @property
    def is_active(self) -> bool:
        """Whether it has pods that run or are to run again."""
        return self in {Phase.RUNNING, Phase.RETRYING, Phase.RESTARTING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take on a twin, in seconds; each state is held for a moment, so that it can be seen.

    Args:
        dwell_s: Least time in each state before pods run, in each of the two before a restart, and of running.
        ready_s: Time from one pod's readiness to the next one's.
        unknown_s: How long the state of a new workload is not told.
        grace_s: Time from SIGTERM to SIGKILL.
        token_s: Life of a run:ai token.
    """

    dwell_s: float = 0.01
    ready_s: float = 0.005
    unknown_s: float = 0.0
    grace_s: float = 30.0
    token_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A workload that an API has accepted.

    Args:
        id: The platform's identifier.
        name: Its name.
        scope: Within which the name is unique.
        kind: The platform's word: `job`, `workspaces`, `trainings` or `distributed`.
        body: The create call's body as it came.
        pods: What is to be started, in the order of their ranks.
        waiting: The states before pods run, in the platform's words.
        resuming: The same for a workload that was stopped and is to run again.
        restarts: How many failures of its pods are answered with a restart.
        not_before_s: Unix time at which it may begin.
        keep_s: How long it is kept after it has finished; None for ever.
        facts: What the API wants to know again.
    """

    id: str
    name: str
    scope: str = ""
    kind: str
    body: Mapping[str, Any] = field(repr=False)
    pods: tuple[PodSpec, ...] = field(repr=False)
    waiting: tuple[str, ...]
    resuming: tuple[str, ...]
    restarts: int = 0
    not_before_s: float = 0.0
    keep_s: float | None = None
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """How a pod stands.

    Args:
        name: Its name.
        index: Its place among the workload's pods.
        exit_code: Of its latest run, once that has ended.
        was_stopped: Whether the platform asked its latest run to end: since the workload was to end, or since another
            of its pods had failed. Its exit code then says nothing of what went wrong.
        restarts: How often it was started again.
        log: The file with its latest output.
        is_started: Whether its latest run has begun.
        is_ready: Whether it runs and is ready.
    """

    name: str
    index: int
    exit_code: int | None
    restarts: int
    log: Path
    is_started: bool
    is_ready: bool
    was_stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSeen:
    """How a workload stands.

    Args:
        key: Tells it from every other of this twin, also from those that had its identifier before.
        order: What was accepted.
        phase: Where it is in its life.
        word: The platform's word, while it waits.
        was_ready: Whether all its pods have been ready, or have ended, since it was started.
        pods: Its pods; none before it runs.
        created_s: Unix time of its creation.
        finished_s: Unix time of its end, or None.
        history: Each phase that it was in, with the Unix time of its beginning.
    """

    key: int
    order: Order
    phase: Phase
    word: str
    was_ready: bool
    pods: tuple[PodSeen, ...]
    created_s: float
    finished_s: float | None
    history: tuple[tuple[float, Phase], ...]

    @property
    def id(self) -> str:
        """The platform's identifier."""
        return self.order.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.order.name

    @property
    def kind(self) -> str:
        """The platform's word for its kind."""
        return self.order.kind

    @property
    def body(self) -> Mapping[str, Any]:
        """The create call's body as it came, with every value in it."""
        return self.order.body
