"""What is wrong with a cloud job whoever has made it: a profile's jobs are checked when env.toml is read as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.limits import LIMITS, refused_variables, text_problem, untold_values
from nemo_runspec.platforms.storage import STORAGE_KEYS, lost_problems, unshared_problems
from nemo_runspec.toml.source import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nemo_runspec.platforms.runai import RunaiSettings


def variable_problems(executor: str, variables: Iterable[tuple[Any, Any]]) -> Iterator[Problem]:
    """Yield the variables that no pod can get or that a job must leave alone; a value itself is not told.

    Args:
        executor: Whose platform the job is for.
        variables: Name and value of each; a name that is there twice counts once.
    """
    given = tuple(variables)
    for message in refused_variables(dict.fromkeys(name for name, _ in given), LIMITS[executor]):
        yield Problem(message)
    for message in untold_values(given):
        yield Problem(message, remedy='Give it as text in UTF-8, such as "1"; other bytes, for example, as base64.')


def command_problems(command: str) -> Iterator[Problem]:
    """Yield why a command's text cannot be sent."""
    untold = text_problem(command)
    if untold is not None:
        yield Problem(f"the command {untold}", remedy="Give its arguments as UTF-8.")


def storage_problems(home: str, settings: LeptonSettings | RunaiSettings, nodes: int) -> Iterator[Problem]:
    """Yield what is wrong with the place of the folder that keeps jobs and has to outlive a pod.

    Args:
        home: The folder, as in `CloudJob`.
        settings: Where volumes are mounted.
        nodes: Number of pods.
    """
    is_lepton = isinstance(settings, LeptonSettings)
    keys = STORAGE_KEYS["lepton" if is_lepton else "dgxcloud"]
    volumes = settings.mounts if isinstance(settings, LeptonSettings) else settings.pvcs
    yield from lost_problems(keys.home, home, volumes, keys)
    yield from unshared_problems(keys.home, home, volumes, keys, nodes=nodes)
