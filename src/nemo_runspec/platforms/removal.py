"""Removing what an ended workload has left on its platform, and nothing of one that may still run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import GoneError, RefusedError, UnreachableError
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.platforms.workload import Seen


def remove_ended(name: str, seen: Seen, delete: Callable[[], object]) -> None:
    """Delete a workload's record where the workload has ended.

    Args:
        name: The workload's name, for messages.
        seen: How it stands.
        delete: Deletes it; GoneError is as good as done.

    Raises:
        RefusedError: It has not ended.
        UnreachableError: Whether it has ended cannot be asked.
    """
    if seen.state is JobState.LOST:
        return
    if seen.state is JobState.UNREACHABLE:
        message = f"whether '{name}' has ended cannot be asked, so that nothing of it is removed"
        raise UnreachableError(message, remedy="Try again later.")
    if not seen.state.is_final:
        message = f"'{name}' is {seen.state.value}; only what an ended job has left is removed"
        raise RefusedError(message, remedy="Cancel it first.")
    try:
        delete()
    except GoneError:
        return
