"""From a profile to a nemo-run executor. Building one opens and writes nothing.

A new executor is a module with a factory, and a row in `FACTORIES`.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nemo_runspec.env import Origin, load_env_profile
from nemo_runspec.env_vars import is_secret_variable
from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_run import Executor

    from nemo_runspec.env import Profile

FACTORIES = {
    "dgxcloud": "nemo_runspec.executors.dgxcloud:create_dgxcloud_executor",
    "lepton": "nemo_runspec.executors.lepton:create_lepton_executor",
    "docker": "nemo_runspec.executors.docker:create_docker_executor",
    "local": "nemo_runspec.executors.local:create_local_executor",
    "slurm": "nemo_runspec.executors.slurm:create_slurm_executor",
}
"""Executor kind -> its factory, imported when one is built, because nemo-run takes seconds to import."""


def get_executor_type(profile: Profile) -> str:
    """Give a profile's executor kind (`local`, `docker`, `slurm`, `lepton`, `dgxcloud`)."""
    return profile.executor


def get_startup_commands(profile: Profile) -> list[str]:
    """Give the shell commands that a profile runs before the job."""
    return list(profile.startup_commands)


def create_executor(profile: Profile, env_vars: Mapping[str, str] | None = None) -> Executor:
    """Build the nemo-run executor of a profile as it stands in env.toml.

    Args:
        profile: A profile, as `nemo_runspec.env.load_env_profile` gives it.
        env_vars: Variables of the job, beside the profile's own `env_vars`. nemo-run writes an executor to
            disk, so no secret belongs here.

    Raises:
        ProfileError: A `${...}` of the profile cannot be filled in, or it lacks what an executor needs.
    """
    return build_executor(resolve_profile(profile), env_vars)


def build_executor(profile: Profile, env_vars: Mapping[str, str] | None = None) -> Executor:
    """Build the nemo-run executor of a profile whose values are final, such as a job's.

    Args:
        profile: The profile; a `${...}` in it is taken literally.
        env_vars: As for `create_executor`.

    Raises:
        ProfileError: It lacks what an executor needs.
    """
    module, _, name = FACTORIES[profile.executor].partition(":")
    factory = getattr(import_module(module), name)
    executor: Executor = factory(profile, env_vars=env_vars or {})
    return executor


def resolve_profile(profile: Profile) -> Profile:
    """Fill in the `${oc.env:NAME}` of a profile's values from this process's environment.

    Raises:
        ProfileError: A variable is not set, or what comes out is no value of the key; names the key.
    """
    values = {key: value for key, value in profile.as_config().items() if key in profile.origins}
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "?"
        message = f"profile '{profile.name}': '{key}' cannot be filled in: {str(error).splitlines()[0]}"
        remedy = "Export the variable, or give a value for when it is not set: ${oc.env:NAME,value}."
        raise ProfileError(message, where=profile.where(re.split(r"[.\[]", key)[0]), remedy=remedy) from error
    for key, value in cast("dict[str, Any]", resolved).items():
        if value != values[key]:
            profile = profile.with_overrides({key: value}, profile.origins[key])
    return profile


def load_executor(
    name: str,
    *,
    env_file: str | Path | None = None,
    image: str | None = None,
    **changes: Any,  # noqa: ANN401 - a profile's fields are of many types
) -> Executor:
    """Build the executor of an env.toml profile, for `run.Experiment` in a notebook.

    The executor holds the profile's `env_vars` but no secret, because nemo-run writes executors to disk. What the
    profile lists in `secrets`, and `env_vars` with a secret's name, has to be in the notebook's own environment
    (`os.environ`): jobs on this machine inherit it, and the values of a cloud's jobs are taken from it when they are
    launched. A platform's own secrets (`secrets` as a table) need nothing here.

    Args:
        name: The profile's name.
        env_file: The env.toml to read; found from the working directory when not given.
        image: The container image; another name of `container_image`, which executors without containers ignore.
        **changes: Profile fields to set instead of the file's, such as `nodes=2`.

    Raises:
        ProfileError: No such file or profile, an unknown field, a value of the wrong type, a `${oc.env:NAME}` that
            is not set, or a secret that is not in the environment.
    """
    if image is not None:
        # Under its other name where the first is taken, so that both together are refused as two names of one key.
        changes["container" if "container_image" in changes else "container_image"] = image
    chosen = load_env_profile(name, env_file).with_overrides(changes, Origin("load_executor"))
    profile = resolve_profile(chosen)
    _require_secrets(profile)
    return build_executor(profile)


def _require_secrets(profile: Profile) -> None:
    wanted = {name: value for name, value in profile.env_vars.items() if is_secret_variable(name, profile)}
    # A cloud fills in its own secrets; a process on this machine has nobody who would.
    elsewhere = set() if profile.executor == "local" else set(profile.secret_references)
    expected = [name for name in profile.secret_names if name not in wanted and name not in elsewhere]
    lacking = [name for name in expected if not os.environ.get(name)]
    lacking += [name for name, value in wanted.items() if os.environ.get(name) != value]
    if lacking:
        message = (
            f"profile '{profile.name}' gives jobs the secret {', '.join(lacking)}, which is not set here like that"
        )
        remedy = (
            "nemo-run writes executors to disk, so a secret has to be in os.environ: set it there, with that value."
        )
        raise ProfileError(message, where=profile.source, remedy=remedy)
