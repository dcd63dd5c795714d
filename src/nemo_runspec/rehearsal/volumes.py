"""Folders of this machine that stand for a platform's volumes."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import quote

from nemo_runspec.platforms.storage import NODE_LOCAL
from nemo_runspec.rehearsal.pod import VolumeMount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any


def lepton_mounts(mounts: Iterable[Mapping[str, Any]], folder: Path, *, job: str, node: int) -> tuple[VolumeMount, ...]:
    """Give the mounts of one pod of a Lepton job, whose folders are made.

    Args:
        mounts: As the job has them, which the rules let pass.
        folder: Holds the volumes; each is a folder below it, shared by all jobs.
        job: The job's identifier.
        node: The pod's index: no two pods of a job are on one node, so `node-local` is another folder for each.
    """
    found = []
    for mount in mounts:
        volume = _name(mount["from"])
        root = folder / volume / job / str(node) if mount["from"] == NODE_LOCAL else folder / volume
        source = root / posixpath.normpath(f"/{mount['path']}").lstrip("/")
        options = mount.get("mount_options") or {}
        found.append(_made(source, mount["mount_path"], read_only=options.get("read_only") is True))
    return _outermost_first(found)


def runai_mounts(
    claims: Iterable[Mapping[str, Any]], folder: Path, *, project: str, workload: str
) -> tuple[VolumeMount, ...]:
    """Give the mounts of a run:ai workload's pods, whose folders are made.

    Args:
        claims: As the workload has them, which the rules let pass.
        folder: Holds the volumes.
        project: A claim belongs to one project.
        workload: A claim without a name is a new volume, of this workload alone.
    """
    found = []
    for number, claim in enumerate(claims):
        name = claim.get("claimName") or f"{workload}-{number}"
        source = folder / _name(project) / _name(name)
        found.append(_made(source, claim["path"], read_only=claim.get("readOnly") is True))
    return _outermost_first(found)


def _name(text: str) -> str:
    """Give a name as one part of a path."""
    return quote(text, safe=":").replace(".", "%2E") if text in {".", ".."} else quote(text, safe=":")


def _made(source: Path, target: str, *, read_only: bool) -> VolumeMount:
    source.mkdir(parents=True, exist_ok=True)
    return VolumeMount(source, posixpath.normpath(target), read_only)


def _outermost_first(mounts: Iterable[VolumeMount]) -> tuple[VolumeMount, ...]:
    """Sort mounts so that one on a folder of another is not hidden by it."""
    return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))
