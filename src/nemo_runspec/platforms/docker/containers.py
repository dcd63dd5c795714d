"""What an engine says about a job's containers, and what that says about the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from nemo_runspec.platforms.docker.request import COUNT_LABEL, DIGEST_LABEL, FOLDER_LABEL, INDEX_LABEL
from nemo_runspec.platforms.workload import Cause, JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_LIVE: Final = frozenset({"running", "paused", "restarting", "removing"})
_CREATED: Final = "created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a job.

    Args:
        id: The engine's identifier.
        name: Its name, which no other container has.
        index: Its number in the job.
        count: How many containers the job has.
        folder: The job's folder.
        digest: Of the request that it was made for.
        status: The engine's word for its state.
        exit_code: Of its command, once that has ended.
        was_out_of_memory: Whether the kernel has killed a process of it for that.
        ended: When its command has ended, as a text that sorts.
    """

    id: str
    name: str
    index: int
    count: int
    folder: str
    digest: str
    status: str
    exit_code: int
    was_out_of_memory: bool
    ended: str

    @classmethod
    def of(cls, inspected: Mapping[str, Any]) -> Self:
        """Read what the engine answers when a container is inspected."""
        state, labels = inspected["State"], inspected["Config"].get("Labels") or {}
        return cls(
            id=inspected["Id"],
            name=inspected["Name"].removeprefix("/"),
            index=int(labels.get(INDEX_LABEL, 0)),
            count=int(labels.get(COUNT_LABEL, 1)),
            folder=labels.get(FOLDER_LABEL, ""),
            digest=labels.get(DIGEST_LABEL, ""),
            status=state["Status"],
            exit_code=int(state.get("ExitCode") or 0),
            was_out_of_memory=bool(state.get("OOMKilled")),
            # Go leaves out zeros at the end of a second's fraction; without the Z such texts sort all the same.
            ended=str(state.get("FinishedAt", "")).removesuffix("Z"),
        )

    @property
    def is_live(self) -> bool:
        """Whether its command has started and not ended."""
        return self.status in _LIVE

    @property
    def was_started(self) -> bool:
        """Whether its command has ever been started."""
        return self.status != _CREATED

    @property
    def has_failed(self) -> bool:
        """Whether its command has ended, and not well."""
        return self.was_started and not self.is_live and self.exit_code != 0


def seen(containers: Sequence[Container], cancelled: Collection[str] | None) -> Seen:
    """Tell how a job stands.

    Args:
        containers: All that the engine has of it.
        cancelled: Names of those that had not ended when the job was cancelled; None where it was not.
    """
    if not containers:
        return Seen(JobState.LOST)
    own = [one for one in containers if one.has_failed and one.name not in (cancelled or ())]
    if own and not any(one.is_live for one in containers):
        # The first was itself; the others may have ended because of it. Memory is a reason of its own.
        first = min(own, key=lambda one: (not one.was_out_of_memory, one.ended))
        cause = Cause.MEMORY if first.was_out_of_memory else None
        return Seen(JobState.FAILED, _word(containers), first.exit_code, cause)
    state = _state(containers, is_ending=bool(own) or cancelled is not None)
    return Seen(state, _word(containers), 0 if state is JobState.SUCCEEDED else None)


def _state(containers: Sequence[Container], *, is_ending: bool) -> JobState:
    """Tell how a job stands that has not failed.

    Args:
        containers: All that the engine has of it.
        is_ending: Whether it was cancelled, or one of its containers has failed.
    """
    started = all(one.was_started for one in containers)
    if any(one.is_live for one in containers):
        return JobState.STOPPING if is_ending else JobState.RUNNING if started else JobState.STARTING
    if started and all(one.exit_code == 0 for one in containers):
        # How those ended that were removed by hand is not known.
        return JobState.SUCCEEDED if len(containers) == containers[0].count else JobState.LOST
    return JobState.CANCELLED if is_ending else JobState.STARTING


def _word(containers: Sequence[Container]) -> str:
    """Give the engine's words for the containers, each once."""
    words = (f"exited ({one.exit_code})" if one.status == "exited" else one.status for one in containers)
    return ", ".join(dict.fromkeys(words))
