"""Fields of nemo-run's executors that mean nothing to ours: to leave them out without a word would be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.executors.platform import PlatformExecutor


def refuse_other_fields(executor: PlatformExecutor, instead: Mapping[str, str]) -> None:
    """Refuse an executor that asks for what would not be done.

    Args:
        executor: The executor.
        instead: Field -> what to do instead of setting it.

    Raises:
        ProfileError: One of the fields is set.
    """
    for name, remedy in instead.items():
        if getattr(executor, name):
            message = f"the {executor.platform} executor of this library takes no '{name}'"
            raise ProfileError(message, remedy=remedy)
