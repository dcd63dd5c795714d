"""What to say when a package is missing that only some installations have."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemo_runspec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ("nemotron", "nemo_runspec")


@contextmanager
def packages_needed(by: str) -> Iterator[None]:
    """Turn a failed import of somebody else's package into an error that says how to get it.

    Args:
        by: What needs the packages that the body imports.

    Raises:
        ConfigError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN:
            raise
        message = f"{by} needs the package '{package}', which is not installed here"
        remedy = (
            "The tiny configurations need the extra 'tiny': pip install 'nemotron[tiny]', or '.[tiny]' in a checkout. "
            "The others run in the image that the recipe names."
        )
        raise ConfigError(message, remedy=remedy) from error
