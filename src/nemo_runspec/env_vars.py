"""Which environment variables a job gets, where each came from, and which of them are secret."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemo_runspec.env import Profile
    from nemo_runspec.spec import Runspec

SECRET_NAME = re.compile(r"(?i)(^|_)(token|secret|password|passwd|api_?key|access_key|private_key|credentials?)(_|$)")
"""A variable or key with such a name holds a secret."""

CREDENTIALS = ("HF_TOKEN", "WANDB_API_KEY")
"""Taken from the submitter's environment where they are set: what the training libraries log in with."""

REDACTED = "***"
SHORTEST_SECRET = 6
"""A shorter value is not searched for in text: it would match everywhere."""


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


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or key of this name holds a secret."""
    return SECRET_NAME.search(name) is not None


def build_env_vars(
    spec: Runspec,
    profile: Profile,
    *,
    run: Mapping[str, Any],
    workspace: str,
    environ: Mapping[str, str] | None = None,
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
    """
    source = os.environ if environ is None else environ
    found = [EnvVar("NEMO_RUN_DIR", workspace, "workspace")]
    found += [EnvVar(name, value, f"{spec.script_path.name} [tool.runspec.env]") for name, value in spec.env.items()]
    wandb = run.get("wandb") or {}
    found += [
        EnvVar(f"WANDB_{key.upper()}", str(wandb[key]), "env.toml [wandb]")
        for key in ("project", "entity")
        if wandb.get(key)
    ]
    secrets = dict.fromkeys((*CREDENTIALS, *profile.secret_names))
    found += [EnvVar(name, source[name], "your environment", secret=True) for name in secrets if source.get(name)]
    origin = f"profile {profile.name}"
    found += [EnvVar(name, value, origin, secret=is_secret_name(name)) for name, value in profile.env_vars.items()]
    return tuple({variable.name: variable for variable in found}.values())


class Redactor:
    """Takes secret values out of text and out of nested data.

    Args:
        values: Secret values; short ones are left out, because they would match everywhere.
    """

    def __init__(self, values: Iterable[str]) -> None:
        """Order the values so that the longest is replaced first."""
        self._values = sorted({value for value in values if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)

    @classmethod
    def for_job(cls, profile: Profile, environ: Mapping[str, str] | None = None) -> Redactor:
        """Know every secret that could slip into this job's texts.

        These are the variables of the submitter's environment with a secret's name or named by the profile, and
        the profile's own secret fields.
        """
        source = os.environ if environ is None else environ
        named = set(profile.secret_names)
        values = [value for name, value in source.items() if name in named or is_secret_name(name)]
        values += [str(value) for key, value in profile.as_config().items() if is_secret_name(key)]
        values += [value for name, value in profile.env_vars.items() if is_secret_name(name)]
        return cls(values)

    def text(self, text: str) -> str:
        """Give the text with every known secret replaced."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        return text

    def data(self, data: Any, key: str = "") -> Any:  # noqa: ANN401 - nested JSON-like data
        """Give nested data with secret values replaced, and everything that stands under a secret's name."""
        if isinstance(data, dict):
            return {name: self.data(value, str(name)) for name, value in data.items()}
        if isinstance(data, list | tuple):
            return [self.data(value, key) for value in data]
        if isinstance(data, str):
            return REDACTED if is_secret_name(key) and data else self.text(data)
        return data
