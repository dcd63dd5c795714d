"""A Ray cluster as Lepton describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the platform says of a Ray cluster.

    Args:
        name: Its name.
        state: The platform's word.
        suspended: Whether somebody wants it to be.
        ready: How many of its workers are ready.
        wanted: How many workers it is to have.
        created_s: Unix time of its creation; 0 where that is not told.
        ray_version: The version of Ray that it was made with.
    """

    name: str
    state: str
    suspended: bool = False
    ready: int = 0
    wanted: int = 0
    created_s: float = 0.0
    ray_version: str = ""


def cluster_of(found: Any, name: str = "") -> Cluster:  # noqa: ANN401 - any JSON value
    """Give a cluster of what the platform answers.

    Args:
        found: The answer.
        name: Its name, where the answer does not have it.
    """
    metadata, spec, status = (_table(found, part) for part in ("metadata", "spec", "status"))
    groups = spec.get("worker_group_specs")
    wanted = sum(_table({"group": group}, "group").get("min_replicas") or 0 for group in groups or ())
    return Cluster(
        name=str(metadata.get("id") or metadata.get("name") or name),
        state=str(status.get("state") or ""),
        suspended=spec.get("suspend") is True,
        ready=status.get("readyWorkerReplicas") or 0,
        wanted=wanted,
        created_s=(metadata.get("created_at") or 0) / 1000,
        ray_version=str(spec.get("ray_version") or ""),
    )


def _table(holder: Any, name: str) -> Mapping[str, Any]:  # noqa: ANN401 - any JSON value
    table = holder.get(name) if isinstance(holder, dict) else None
    return table if isinstance(table, dict) else {}
