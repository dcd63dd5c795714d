"""Which folders of a job outlive its pods, and are the same on all of its nodes: pure, for whoever has made the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.limits import folder, on_a_mount
from nemo_runspec.toml.source import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NODE_LOCAL: Final = "node-local"
"""Lepton's word for a disk that each node has for itself; it is always there."""

Volume = Mapping[str, Any]
"""A volume to mount, as the platform's table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKeys:
    """What a platform's users call things.

    Args:
        home: The folder that keeps jobs.
        volumes: The list of volumes.
        folder: Where a volume is mounted, in its table.
    """

    home: str
    volumes: str
    folder: str


STORAGE_KEYS: Final[Mapping[str, StorageKeys]] = MappingProxyType(
    {
        "lepton": StorageKeys(home="nemo_run_dir", volumes="mounts", folder="mount_path"),
        "dgxcloud": StorageKeys(home="pvc_nemo_run_dir", volumes="pvcs", folder="path"),
    }
)
"""Executor -> the words of its platform."""


def outlives_the_pod(volume: Volume) -> bool:
    """Tell whether what a job writes on a volume is there afterwards."""
    return not _is_read_only(volume) and not volume.get("ephemeral")


def is_shared(volume: Volume) -> bool:
    """Tell whether all nodes of a job see the same on a volume."""
    return bool(volume.get("from") != NODE_LOCAL)


def lost_problems(name: str, place: str, volumes: Iterable[Volume], keys: StorageKeys) -> Iterator[Problem]:
    """Yield what is wrong with the place of a folder that has to outlive a pod.

    Args:
        name: What the folder is called, such as `workspace`.
        place: The folder, as pods see it.
        volumes: What is mounted; one whose folder is no absolute path is told by the platform's own checks.
        keys: The platform's words.
    """
    if not place.startswith("/"):
        message = f"{name} must be an absolute path in the pod, not '{place}'"
        yield Problem(message, remedy=f"Write the {keys.folder} of a volume and what is below it.")
        return
    known = _placed(volumes, keys)
    volume = _holding(place, known, keys)
    if volume is None:
        places = ", ".join(volume[keys.folder].rstrip("/") for volume in known)
        message = f"{name} is on none of the {keys.volumes} ({places or 'there are none'})"
        yield Problem(message, remedy=f"Choose a folder below the {keys.folder} of one of them.")
    elif _is_read_only(volume):
        message = f"{name} is on a volume that is mounted read-only"
        yield Problem(message, remedy="Choose a folder on one that can be written.")
    elif volume.get("ephemeral"):
        message = f"{name} is on an ephemeral volume, which the platform deletes with the job"
        yield Problem(message, remedy="Choose a folder on one that stays, or take out `ephemeral`.")


def unshared_problems(
    name: str, place: str, volumes: Iterable[Volume], keys: StorageKeys, *, nodes: int
) -> Iterator[Problem]:
    """Yield that a folder which all nodes of a job must see lies on a disk of each node.

    Args:
        name: What the folder is called.
        place: The folder, as pods see it.
        volumes: What is mounted.
        keys: The platform's words.
        nodes: Number of nodes.
    """
    volume = _holding(place, _placed(volumes, keys), keys) if nodes > 1 else None
    if volume is not None and not is_shared(volume):
        message = f"{name} is on '{NODE_LOCAL}', which is another disk on each of the {nodes} nodes"
        yield Problem(message, remedy="Choose a folder on a volume that all nodes share, or one node.")


def _placed(volumes: Iterable[Volume], keys: StorageKeys) -> list[Volume]:
    found = ((volume, volume.get(keys.folder)) for volume in volumes)
    return [volume for volume, place in found if isinstance(place, str) and place.startswith("/")]


def _holding(place: str, volumes: Iterable[Volume], keys: StorageKeys) -> Volume | None:
    """Give the innermost volume that a folder is on."""
    around = [volume for volume in volumes if place.startswith("/") and on_a_mount(place, [volume[keys.folder]])]
    return max(around, key=lambda volume: len(folder(volume[keys.folder])), default=None)


def _is_read_only(volume: Volume) -> bool:
    options = volume.get("mount_options")
    return bool(volume.get("readOnly") or (isinstance(options, Mapping) and options.get("read_only")))
