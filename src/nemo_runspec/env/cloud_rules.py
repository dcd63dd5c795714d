"""What can be wrong with a cloud's profile before anything is sent: what the platform refuses, or loses with a pod."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.env.tables import known_keys, sound_part
from nemo_runspec.errors import ConfigError
from nemo_runspec.git_mounts import is_git_mount
from nemo_runspec.git_mounts import parse as parse_git_mount
from nemo_runspec.platforms.body import spec_problems
from nemo_runspec.platforms.limits import (
    LIMITS,
    lacking_problems,
    mount_problems,
    refused_variables,
    value_problems,
)
from nemo_runspec.platforms.storage import STORAGE_KEYS, lost_problems, unshared_problems
from nemo_runspec.redaction import is_secret_name
from nemo_runspec.toml.source import Problem
from nemo_runspec.words import PLACEHOLDERS, placeholders_in, split_failure

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nemo_runspec.env.cloud_profiles import CloudProfile
    from nemo_runspec.platforms.limits import Limits

_TAKE_OUT: Final = "Take it out; `nodes` and `nprocs_per_node` say how many processes there are."


def unshared(profile: CloudProfile, nodes: int) -> Iterator[Problem]:
    """Yield the folders that all nodes of a job must see, and that lie on a disk of each node.

    Args:
        profile: The profile.
        nodes: Number of nodes.
    """
    keys = STORAGE_KEYS[profile.executor]
    for name, place in _kept(profile):
        for problem in unshared_problems(name, place, profile.volumes, keys, nodes=nodes):
            yield _problem(profile, problem.message, name, problem.remedy)


def cloud_problems(profile: CloudProfile, wrong: Container[str]) -> Iterator[Problem]:
    """Yield everything that the platform would refuse, and what would be lost with a pod.

    A list or table with a malformed entry is judged by its others.

    Args:
        profile: The profile.
        wrong: Keys that are wrong by themselves.
    """
    limits = LIMITS[profile.executor]
    asked = {name: name in wrong or getattr(profile, name) for name in limits.needed}
    yield from (Problem(f"profile '{profile.name}': {m}", profile.source) for m in lacking_problems(asked, limits))
    yield from _mounts(profile, limits)
    yield from _variables(profile, limits)
    for message in spec_problems(_sound(profile, "custom_spec") or {}, limits.job_fields):
        yield _problem(profile, message, "custom_spec", "Take it out.")
    if "run_command" not in wrong and profile.run_command is not None:
        yield from _command(profile, profile.run_command)
    keys = STORAGE_KEYS[profile.executor]
    for name, place in _kept(profile):
        for problem in lost_problems(name, place, profile.volumes, keys) if name not in wrong else ():
            yield _problem(profile, problem.message, name, problem.remedy)
    if "nodes" not in wrong and profile.nodes is not None:
        yield from unshared(profile, profile.nodes)


def _sound(profile: CloudProfile, name: str) -> Any:  # noqa: ANN401 - whatever the key may hold
    return sound_part(known_keys(type(profile))[name].kind, getattr(profile, name))


def _problem(profile: CloudProfile, message: str, name: str, remedy: str | None = None) -> Problem:
    return Problem(f"profile '{profile.name}': {message}", profile.where(name), remedy)


def _mounts(profile: CloudProfile, limits: Limits) -> Iterator[Problem]:
    targets = []
    for text in profile.git_mounts:
        try:
            targets.append(parse_git_mount(text).target)
        except ConfigError as error:
            yield _problem(profile, error.message, "mounts", error.remedy)
    folders = (volume.get(profile.folder_key) for volume in profile.volumes)
    known = [place for place in folders if isinstance(place, str) and place.startswith("/") and "${" not in place]
    for message in mount_problems([*known, *targets], limits):
        yield _problem(
            profile, message, profile.volumes_key, "Give each volume a folder of its own, such as /mnt/data."
        )
    for item in profile.mounts if isinstance(profile.mounts, tuple) else ():
        if isinstance(item, str) and not is_git_mount(item) and "${" not in item:
            message = f"'{item}' in mounts is neither a volume nor a repository"
            remedy = f"Describe volumes as tables in '{profile.volumes_key}', and repositories as ${{auto_mount:...}}."
            yield _problem(profile, message, "mounts", remedy)


def _environment_values() -> set[str]:
    return {"", *os.environ.values()}


def _variables(profile: CloudProfile, limits: Limits) -> Iterator[Problem]:
    for name in ("env_vars", "secrets"):
        for message in refused_variables(_sound(profile, name) or (), limits):
            yield _problem(profile, message, name, _TAKE_OUT if "its place" in message else "Take it out.")
    # A value that this process's environment has is a reference that was filled in.
    written = (_sound(profile, "env_vars") or {}).items()
    bare = [n for n, value in written if is_secret_name(n) and "${" not in value and value not in _environment_values()]
    if bare:
        message = f"env_vars holds the value of {', '.join(bare)}, and a secret's value stands in no file"
        yield _problem(profile, message, "env_vars", f'Export it, and name it: secrets = ["{bare[0]}"].')
    literal = ((name, value) for name, value in (_sound(profile, "env_vars") or {}).items() if "${" not in value)
    for message in value_problems(literal, limits):
        yield _problem(profile, message, "env_vars", "Put it into a file on a volume, and give the job its path.")


def _command(profile: CloudProfile, command: str) -> Iterator[Problem]:
    failure = split_failure(command)
    if failure is not None:
        yield _problem(profile, f"run_command cannot be split into words: {failure}", "run_command", "Close the quote.")
    known = " and ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    for name in placeholders_in(command):
        if name not in PLACEHOLDERS:
            remedy = f"{known} are filled in; a variable of the shell is written ${{NAME}}."
            yield _problem(profile, f"run_command has an unknown placeholder {{{name}}}", "run_command", remedy)


def _kept(profile: CloudProfile) -> Iterator[tuple[str, str]]:
    """Yield key and place of the folders that have to outlive a pod, of which something can be concluded already."""
    if not isinstance(getattr(profile, profile.volumes_key), tuple):
        return
    if any("${" in str(volume.get(profile.folder_key)) for volume in profile.volumes):
        return
    for name in (profile.job_root_key, "workspace"):
        place = getattr(profile, name)
        if isinstance(place, str) and "${" not in place and "://" not in place:
            yield name, place
