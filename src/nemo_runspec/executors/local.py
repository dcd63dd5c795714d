"""The `local` executor: processes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.env_vars import is_secret_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_run import LocalExecutor

    from nemo_runspec.env import LocalProfile


def create_local_executor(profile: LocalProfile, *, env_vars: Mapping[str, str] | None = None) -> LocalExecutor:
    """Build nemo-run's LocalExecutor from a profile.

    The profile's secrets are left out: nemo-run writes executors to disk, and a local process inherits the environment
    of the one who starts it anyway. `load_executor` checks that they are in it.

    Args:
        profile: The profile; its number of processes becomes the executor's `ntasks_per_node`.
        env_vars: Variables of the job that are no secrets; they come before the profile's own.
    """
    from nemo_run import LocalExecutor  # noqa: PLC0415 - nemo-run takes seconds to import

    own = {name: value for name, value in profile.env_vars.items() if not is_secret_variable(name, profile)}
    return LocalExecutor(ntasks_per_node=profile.processes_per_node, env_vars={**(env_vars or {}), **own})
