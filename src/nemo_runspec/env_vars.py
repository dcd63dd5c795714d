"""Which environment variables a job gets, where each came from, and which of them are secret."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemo_runspec.env import CloudProfile
from nemo_runspec.env.base import WORKSPACE_VARIABLE
from nemo_runspec.redaction import REDACTED, Redactor, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemo_runspec.context import RecipeConfig
    from nemo_runspec.env import Profile
    from nemo_runspec.spec import Runspec

CREDENTIALS = ("HF_TOKEN", "WANDB_API_KEY")
"""Taken from the submitter's environment where they are set: what the training libraries log in with."""

CONFIGURATION = "the configuration"
"""Origin of what a recipe's own file says."""


@dataclass(frozen=True, slots=True)
class EnvVar:
    """One variable of a job.

    Args:
        name: Its name, in the case it was written.
        value: Its value.
        origin: Where it comes from, for a person to read.
        secret: True when the value must not be printed or written anywhere.
    """

    name: str
    value: str = field(repr=False)
    origin: str
    secret: bool = False

    @property
    def shown(self) -> str:
        """Give the value as it may be printed."""
        return REDACTED if self.secret else self.value


def is_secret_variable(name: str, profile: Profile) -> bool:
    """Tell whether a job's variable is a secret: by its name, or because the profile lists it in `secrets`."""
    return name in profile.secret_names or is_secret_name(name)


def build_env_vars(
    spec: Runspec,
    profile: Profile,
    *,
    run: Mapping[str, Any],
    workspace: str,
    environ: Mapping[str, str] | None = None,
    origins: Mapping[str, str] | None = None,
) -> tuple[EnvVar, ...]:
    """List a job's variables, later sources replacing earlier ones.

    Sources in order: this library (`NEMO_RUN_DIR`), the script's `[tool.runspec.env]`, `run.wandb`, the
    credentials and the profile's `secrets` found in the submitter's environment, the profile's `env_vars`.

    Args:
        spec: The recipe.
        profile: The profile the job runs with.
        run: The resolved `run` section of the configuration.
        workspace: Where the job keeps its results.
        environ: The submitter's environment; `os.environ` when not given.
        origins: Dotted key of the configuration -> where its value comes from, as `MergedConfig.origins` has it;
            without it, the profile's own origins count.
    """
    source = os.environ if environ is None else environ
    found = [(WORKSPACE_VARIABLE, workspace, "workspace")]
    found += [(name, value, f"{spec.script_path.name} [tool.runspec.env]") for name, value in spec.env.items()]
    wandb = run.get("wandb") or {}
    found += [
        (f"WANDB_{key.upper()}", str(wandb[key]), _origin(origins or {}, f"run.wandb.{key}"))
        for key in ("project", "entity")
        if wandb.get(key)
    ]
    secrets = dict.fromkeys((*CREDENTIALS, *profile.secret_names))
    # What a cloud holds a secret for is delivered by the cloud.
    delivered = profile.secret_references if isinstance(profile, CloudProfile) else {}
    taken = (name for name in secrets if name not in delivered and source.get(name))
    known = origins
    if known is None:
        keys = ("env_vars", "secrets")
        known = {f"run.env.{key}": f"profile {profile.origins.get(key, profile.name)}" for key in keys}
    for name in taken:
        listed = name in profile.secret_names
        origin = f"your environment, by {_origin(known, f'run.env.secrets.{name}')}" if listed else "your environment"
        found.append((name, source[name], origin))
    found += [(name, value, _origin(known, f"run.env.env_vars.{name}")) for name, value in profile.env_vars.items()]
    variables = (EnvVar(*parts, secret=is_secret_variable(parts[0], profile)) for parts in found)
    return tuple({variable.name: variable for variable in variables}.values())


def _origin(origins: Mapping[str, str], key: str) -> str:
    """Give the origin of a value, or of the section that it came with."""
    while key not in origins and "." in key:
        key = key.rpartition(".")[0]
    return origins.get(key, CONFIGURATION)


def job_redactor(
    profile: Profile,
    request: RecipeConfig | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Redactor:
    """Know every secret that could slip into a job's texts.

    These are the variables of the submitter's environment with a secret's name or named by the profile, the profile's
    own secret fields, and what stands under a secret's name on the command line and in the configuration.

    Args:
        profile: The profile the job runs with.
        request: What the command line asked.
        config: The resolved configuration.
        environ: The submitter's environment; `os.environ` when not given.
    """
    source = os.environ if environ is None else environ
    values = [value for name, value in source.items() if is_secret_variable(name, profile)]
    redactor = Redactor(values, names=profile.secret_names, references=profile.secret_references)
    argv = (*request.argv, *map(str, request.overrides), *request.passthrough) if request else ()
    return redactor.learning(data=(profile.as_config(confidential=True), config or {}), argv=argv)


@contextmanager
def process_environment(variables: Iterable[EnvVar]) -> Iterator[None]:
    """Set variables of this process, for what it starts meanwhile, and put back what was there before."""
    before = dict(os.environ)
    added = {variable.name: variable.value for variable in variables}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
