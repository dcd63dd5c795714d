"""From a profile to a nemo-run executor. Building one opens and writes nothing.

A new executor is a module with a factory, and a row in `FACTORIES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nemo_runspec.env import Origin, load_env_profile
from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_run import Executor

    from nemo_runspec.env import Profile

FACTORIES = {"local": "nemo_runspec.executors.local:create_local_executor"}
"""Executor kind -> its factory, imported when one is built, because nemo-run takes seconds to import."""


def get_executor_type(profile: Profile) -> str:
    """Give a profile's executor kind (`local`, `docker`, `slurm`, `lepton`, `dgxcloud`)."""
    return profile.executor


def get_startup_commands(profile: Profile) -> list[str]:
    """Give the shell commands that a profile runs before the job."""
    return list(profile.startup_commands)


def require_supported(profile: Profile) -> None:
    """Refuse a profile whose executor has no factory.

    Raises:
        ProfileError: Naming the executors that have one.
    """
    if profile.executor not in FACTORIES:
        message = (
            f"profile '{profile.name}' uses the executor '{profile.executor}', which this version cannot start jobs on"
        )
        remedy = f"It can start jobs on: {', '.join(sorted(FACTORIES))}. Profiles of the others are read and checked."
        raise ProfileError(message, where=profile.source, remedy=remedy)


def create_executor(profile: Profile, env_vars: Mapping[str, str] | None = None) -> Executor:
    """Build the nemo-run executor of a profile.

    Args:
        profile: A profile, as `nemo_runspec.env.load_env_profile` gives it.
        env_vars: Variables of the job, beside the profile's own `env_vars`. nemo-run writes an executor to
            disk, so no secret belongs here.

    Raises:
        ProfileError: The executor has no factory.
    """
    require_supported(profile)
    module, _, name = FACTORIES[profile.executor].partition(":")
    factory = getattr(import_module(module), name)
    executor: Executor = factory(profile, env_vars=env_vars or {})
    return executor


def load_executor(name: str, *, env_file: str | Path | None = None, **changes: Any) -> Executor:  # noqa: ANN401 - a profile's fields are of many types
    """Build the executor of an env.toml profile, for `run.Experiment` in a notebook.

    Args:
        name: The profile's name.
        env_file: The env.toml to read; found from the working directory when not given.
        **changes: Profile fields to set instead of the file's, such as `nodes=2`.

    Raises:
        ProfileError: No such file or profile, an unknown field, or a value of the wrong type.
    """
    profile = load_env_profile(name, env_file)
    return create_executor(profile.with_overrides(changes, Origin("load_executor")))
