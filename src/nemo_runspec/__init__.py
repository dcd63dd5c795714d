"""The toolkit under `nemotron`: scripts that describe themselves, profiles of clusters, and jobs made of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemo_runspec.env import list_profiles
    from nemo_runspec.executors import load_executor
    from nemo_runspec.spec import Runspec, parse

__all__ = ["Runspec", "list_profiles", "load_executor", "parse"]

_HOMES = {
    "Runspec": "nemo_runspec.spec",
    "list_profiles": "nemo_runspec.env",
    "load_executor": "nemo_runspec.executors",
    "parse": "nemo_runspec.spec",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for, so that every command line starts without the others."""
    if name not in _HOMES:
        message = f"module 'nemo_runspec' has no attribute '{name}'"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - only needed here

    return getattr(import_module(_HOMES[name]), name)
