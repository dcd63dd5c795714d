"""How an artifact is written down: `name`, `name:latest` or `name:v3`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nemo_runspec.errors import ArtifactError

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
_VERSION = re.compile(r"v([1-9][0-9]*)")
_FORMS = "Write it as 'name', 'name:latest' or 'name:v3'."


@dataclass(frozen=True, slots=True)
class Reference:
    """One artifact, at one version or at its latest.

    Args:
        name: The artifact's name.
        version: Version number counted from 1, or None for the latest.
    """

    name: str
    version: int | None = None

    def __str__(self) -> str:
        """Give the text that `parse_reference` reads back."""
        return f"{self.name}:{'latest' if self.version is None else f'v{self.version}'}"


def is_name(name: str) -> bool:
    """Tell whether `name` can name an artifact."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Give `name` back when it can name an artifact (it becomes a folder of the store).

    Raises:
        ArtifactError: It is empty, starts with a dot, or holds anything but letters, digits, `.`, `_` and `-`.
    """
    if not is_name(name):
        message = f"'{name}' cannot name an artifact"
        raise ArtifactError(
            message, remedy="Use letters, digits, '.', '_' and '-', and do not start with '.'; no '/' and no spaces."
        )
    return name


def parse_version(text: str) -> int | None:
    """Give the number of a version folder (`v3` is 3), or None when `text` is not one."""
    found = _VERSION.fullmatch(text)
    return int(found[1]) if found else None


def parse_reference(text: str) -> Reference:
    """Read a reference.

    Args:
        text: `name`, `name:latest` or `name:v3`.

    Raises:
        ArtifactError: The text has another form, or its name cannot name an artifact.
    """
    name, colon, version = text.partition(":")
    if not name:
        message = f"artifact reference '{text}' has no name"
        raise ArtifactError(message, remedy=_FORMS)
    check_name(name)
    if not colon or version == "latest":
        return Reference(name)
    number = parse_version(version)
    if number is None:
        message = f"artifact reference '{text}' has the version '{version}', which is neither 'latest' nor 'v<number>'"
        raise ArtifactError(message, remedy=_FORMS)
    return Reference(name, number)
