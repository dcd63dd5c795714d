"""References to a client's secret: what an executor holds in the secret's place, because nemo-run writes it to disk."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nemo_runspec.env import load_env_profile
from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.env import DGXCloudProfile, Profile

_VARIABLE = re.compile(r"\$\{\s*oc\.env:\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*\}")
_FILE = re.compile(r"\$\{env_toml:(?P<path>.+),(?P<profile>[^,}]+)\}")
_REMEDY = (
    "nemo-run writes executors to disk. Export the secret, and give a reference to it: "
    "client_secret='${oc.env:RUNAI_CLIENT_SECRET}'."
)


def is_reference(text: str) -> bool:
    """Tell whether a text is a reference to a secret, and not a secret."""
    return bool(_VARIABLE.fullmatch(text) or _FILE.fullmatch(text))


def require_reference(text: str) -> str:
    """Give the reference back.

    Raises:
        ProfileError: It is none; the message does not repeat it, because then it is the secret.
    """
    if not is_reference(text):
        message = "client_secret holds a secret, or nothing, where a reference to one belongs"
        raise ProfileError(message, remedy=_REMEDY)
    return text


def read_secret(reference: str) -> str:
    """Look a secret up, each time anew, so that one that has been replaced is found.

    Args:
        reference: `${oc.env:NAME}`, a variable of this process, or `${env_toml:PATH,PROFILE}`, the `client_secret`
            of a profile in a file.

    Raises:
        NemotronError: There is no such variable, file or profile, or it has no secret.
    """
    if found := _FILE.fullmatch(reference):
        profile = load_env_profile(found["profile"], found["path"])
        held = getattr(profile, "client_secret", None)
        if not held:
            message = f"profile '{profile.name}' has no client_secret any more"
            raise ProfileError(message, where=profile.source)
        return _filled_in(str(held), profile)
    found = _VARIABLE.fullmatch(reference)
    if found is None:
        message = "client_secret cannot be looked up: it is no reference to a secret"
        raise ProfileError(message, remedy=_REMEDY)
    secret = os.environ.get(found["name"])
    if not secret:
        message = f"the client's secret is expected in the variable {found['name']}, which is not set"
        raise ProfileError(message, remedy=f"Export {found['name']}.")
    return secret


def _filled_in(text: str, profile: Profile) -> str:
    """Fill in what a profile's `client_secret` refers to; one key alone, since the others may not be at hand."""
    try:
        filled = OmegaConf.to_container(OmegaConf.create({"client_secret": text}), resolve=True)
    except OmegaConfBaseException as error:
        message = f"profile '{profile.name}': 'client_secret' cannot be filled in: {str(error).splitlines()[0]}"
        raise ProfileError(message, where=profile.where("client_secret"), remedy="Export the variable.") from error
    return str(cast("dict[str, str]", filled)["client_secret"])


def reference_for(profile: DGXCloudProfile, environ: Mapping[str, str] | None = None) -> str:
    """Give a reference to a profile's `client_secret`, whether or not the profile holds the secret itself by now.

    Args:
        profile: The profile; as it stands in env.toml, or with its `${...}` filled in.
        environ: The submitter's environment; `os.environ` when not given.

    Raises:
        ProfileError: The secret stands nowhere where it could be found again.
    """
    held = profile.client_secret
    if is_reference(held):
        return held
    source = os.environ if environ is None else environ
    try:
        return profile.client_secret_reference
    except ProfileError:
        # Given in Python, such as client_secret=os.environ["RUNAI_CLIENT_SECRET"].
        for name, value in source.items():
            if value == held and is_reference(reference := f"${{oc.env:{name}}}"):
                return reference
        raise
