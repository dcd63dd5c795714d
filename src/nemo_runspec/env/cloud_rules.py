"""What can be wrong with a cloud's profile before anything is sent: what the platform refuses, or loses with a pod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.env.tables import known_keys, sound_part
from nemo_runspec.errors import ConfigError
from nemo_runspec.git_mounts import is_git_mount
from nemo_runspec.git_mounts import parse as parse_git_mount
from nemo_runspec.platforms.body import spec_problems
from nemo_runspec.platforms.limits import (
    LIMITS,
    folder,
    lacking_problems,
    mount_problems,
    on_a_mount,
    value_problems,
    variable_problems,
)
from nemo_runspec.toml.source import Problem
from nemo_runspec.words import PLACEHOLDERS, placeholders_in, split_failure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from nemo_runspec.env.cloud_profiles import CloudProfile
    from nemo_runspec.platforms.limits import Limits

NODE_LOCAL: Final = "node-local"
"""Lepton's word for a disk that each node has for itself."""

_PLACE: Final = "RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|GROUP_RANK|NODE_RANK|NNODES|MASTER_ADDR|MASTER_PORT"
_KEPT: Final = (
    (re.compile(r"NEMO_RUNSPEC_.*"), "is this library's own and cannot be set"),
    (re.compile(r"LEPTON_JOB_.*"), "is Lepton's own and cannot be set"),
    (re.compile(r"RUNAI_.*"), "is run:ai's own and cannot be set"),
    (
        re.compile(rf"{_PLACE}|WORKER_ADDRS|PET_.*"),
        "tells a process its place among the others, which each pod finds out for itself, and cannot be set",
    ),
)
_TAKE_OUT: Final = "Take it out; `nodes` and `nprocs_per_node` say how many processes there are."


def refused_variables(names: Iterable[str], limits: Limits) -> Iterator[str]:
    """Say which variables a job in pods cannot set, and why.

    Args:
        names: Their names.
        limits: The platform's rules.
    """
    names = tuple(names)
    yield from variable_problems(names, limits)
    for name in names:
        if name not in limits.reserved_variables:
            yield from (f"the variable '{name}' {why}" for pattern, why in _KEPT if pattern.fullmatch(name))


def outlives_the_pod(volume: Mapping[str, Any]) -> bool:
    """Tell whether what a job writes on a volume is there afterwards."""
    return not _is_read_only(volume) and not volume.get("ephemeral")


def unshared(profile: CloudProfile, nodes: int) -> Iterator[Problem]:
    """Yield the folders that all nodes of a job must see, and that lie on a disk of each node.

    Args:
        profile: The profile.
        nodes: Number of nodes.
    """
    volumes = _placed(profile)
    for name in (profile.job_root_key, "workspace") if nodes > 1 and volumes is not None else ():
        volume = _holding(getattr(profile, name), volumes or (), profile.folder_key)
        if volume is not None and volume.get("from") == NODE_LOCAL:
            message = f"{name} is on '{NODE_LOCAL}', which is another disk on each of the {nodes} nodes"
            yield _problem(profile, message, name, "Choose a folder on a volume that all nodes share, or one node.")


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
    volumes = _placed(profile)
    for name in (profile.job_root_key, "workspace"):
        if name not in wrong and volumes is not None:
            yield from _placement(profile, name, volumes)
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


def _variables(profile: CloudProfile, limits: Limits) -> Iterator[Problem]:
    for name in ("env_vars", "secrets"):
        for message in refused_variables(_sound(profile, name) or (), limits):
            yield _problem(profile, message, name, _TAKE_OUT if "its place" in message else "Take it out.")
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


def _placed(profile: CloudProfile) -> tuple[Mapping[str, Any], ...] | None:
    """Give the volumes whose folders are known; None where nothing can be concluded from them."""
    if not isinstance(getattr(profile, profile.volumes_key), tuple):
        return None
    found = []
    for volume in profile.volumes:
        place = volume.get(profile.folder_key)
        if isinstance(place, str) and "${" in place:
            return None
        if isinstance(place, str) and place.startswith("/"):
            found.append(volume)
    return tuple(found)


def _holding(place: object, volumes: Iterable[Mapping[str, Any]], key: str) -> Mapping[str, Any] | None:
    """Give the innermost volume that a folder is on."""
    if not isinstance(place, str) or not place.startswith("/"):
        return None
    around = [volume for volume in volumes if on_a_mount(place, [volume[key]])]
    return max(around, key=lambda volume: len(folder(volume[key])), default=None)


def _placement(profile: CloudProfile, name: str, volumes: tuple[Mapping[str, Any], ...]) -> Iterator[Problem]:
    """Yield what is wrong with the place of a folder that has to outlive a pod."""
    place, key = getattr(profile, name), profile.folder_key
    if not isinstance(place, str) or "${" in place or "://" in place:
        return
    if not place.startswith("/"):
        yield _problem(
            profile,
            f"{name} must be an absolute path in the pod, not '{place}'",
            name,
            f"Write the {key} of a volume and what is below it.",
        )
        return
    volume = _holding(place, volumes, key)
    if volume is None:
        places = ", ".join(str(volume[key]).rstrip("/") for volume in volumes)
        message = f"{name} is on none of the {profile.volumes_key} ({places or 'there are none'})"
        yield _problem(profile, message, name, f"Choose a folder below the {key} of one of them.")
    elif _is_read_only(volume):
        message = f"{name} is on a volume that is mounted read-only"
        yield _problem(profile, message, name, "Choose a folder on one that can be written.")
    elif volume.get("ephemeral"):
        message = f"{name} is on an ephemeral volume, which the platform deletes with the job"
        yield _problem(profile, message, name, "Choose a folder on one that stays, or take out `ephemeral`.")


def _is_read_only(volume: Mapping[str, Any]) -> bool:
    options = volume.get("mount_options")
    return bool(volume.get("readOnly") or (isinstance(options, Mapping) and options.get("read_only")))
