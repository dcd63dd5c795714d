"""The `local` executor: processes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.env_vars import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_run import LocalExecutor

    from nemo_runspec.env import LocalProfile


def create_local_executor(profile: LocalProfile, *, env_vars: Mapping[str, str] | None = None) -> LocalExecutor:
    """Build nemo-run's LocalExecutor from a profile.

    Secrets are left out: nemo-run writes executors to disk, and a local process inherits them anyway.

    Args:
        profile: The profile; `nproc_per_node` becomes the executor's `ntasks_per_node`.
        env_vars: Variables of the job; they come before the profile's own.
    """
    from nemo_run import LocalExecutor  # noqa: PLC0415 - nemo-run takes seconds to import

    merged = {**(env_vars or {}), **profile.env_vars}
    return LocalExecutor(
        ntasks_per_node=profile.nproc_per_node or profile.nprocs_per_node or 1,
        env_vars={name: value for name, value in merged.items() if not is_secret_name(name)},
    )
