"""What a rehearsal has proved, read off what the twin received and what its pods did."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.limits import environment, environment_sizes
from nemo_runspec.platforms.workload import (
    CLUSTER_ID,
    NAME,
    NODE_GROUP_ID,
    PROJECT_ID,
    body_digest,
    replace_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemo_runspec.rehearsal.request_log import LoggedRequest
    from nemo_runspec.rehearsal.workloads import WorkloadSeen

_BOOT: Final = "NEMO_RUNSPEC_BOOT"
"""The variable in which the data mover tells its pod's side what travels, as JSON."""

_PACKAGE: Final = "NEMO_RUNSPEC_RAY_PACKAGE"
"""The variable of a Ray cluster with the digest of what its driver is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a twin has seen.

    Args:
        workloads_created: How many create calls it accepted.
        api_calls: How many requests it answered, or left unanswered on purpose.
        body_sha256: Digest of the newest workload's create call as it came, with placeholders in the place of what
            was assigned when it was sent: that of the request that a dry-run shows. Empty without a workload.
        archive_sha256: Digest of the source archive in that call, which its pods verify; empty where none travels.
        largest_value_bytes: Size of the longest value in that call's environment.
        environment_bytes: Size of that environment, `NAME=value` and a NUL for each.
        pods: `name` and `exit_code` of each pod, in the order of their ranks; a code is None where a pod never ended.
        stopped: Names of the pods that the platform stopped, as it does when another one has failed.
    """

    workloads_created: int
    api_calls: int
    body_sha256: str = ""
    archive_sha256: str = ""
    largest_value_bytes: int = 0
    environment_bytes: int = 0
    pods: tuple[Mapping[str, str | int | None], ...] = ()
    stopped: tuple[str, ...] = ()


def evidence_of(workloads: Sequence[WorkloadSeen], requests: Sequence[LoggedRequest]) -> Evidence:
    """Sum up what a twin has seen.

    Args:
        workloads: In the order of creation.
        requests: Everything that it was asked.
    """
    pods = tuple({"name": pod.name, "exit_code": pod.exit_code} for workload in workloads for pod in workload.pods)
    stopped = tuple(pod.name for workload in workloads for pod in workload.pods if pod.was_stopped)
    if not workloads:
        return Evidence(workloads_created=0, api_calls=len(requests), pods=pods)
    newest = workloads[-1]
    largest, total = environment_sizes(newest.body)
    return Evidence(
        workloads_created=len(workloads),
        api_calls=len(requests),
        body_sha256=body_digest(unassigned(newest)),
        archive_sha256=_archive_digest(newest.body),
        largest_value_bytes=largest,
        environment_bytes=total,
        pods=pods,
        stopped=stopped,
    )


def unassigned(workload: WorkloadSeen) -> dict[str, Any]:
    """Give a create call's body with placeholders where its sender had put what was assigned when it was sent.

    Args:
        workload: As the twin has received it.
    """
    body: dict[str, Any] = replace_text(workload.body, {workload.name: NAME})
    if workload.kind == "raycluster":
        spec = body["spec"]
        workers = [_without_groups(group) for group in spec["worker_group_specs"]]
        head = _without_groups(spec["head_group_spec"])
        return {**body, "spec": {**spec, "head_group_spec": head, "worker_group_specs": workers}}
    if workload.kind != "job":
        return {**body, "projectId": PROJECT_ID, "clusterId": CLUSTER_ID}
    # Lepton's node groups are the one thing in a job that the platform knows by another name than its users.
    return {**body, "spec": _without_groups(body["spec"])}


def _without_groups(spec: dict[str, Any]) -> dict[str, Any]:
    affinity = spec.get("affinity")
    if not affinity or "allowed_dedicated_node_groups" not in affinity:
        return spec
    groups = [NODE_GROUP_ID] * len(affinity["allowed_dedicated_node_groups"])
    return {**spec, "affinity": {**affinity, "allowed_dedicated_node_groups": groups}}


def _archive_digest(body: Mapping[str, Any]) -> str:
    variables = dict(environment(body))
    boot = variables.get(_BOOT)
    source = json.loads(boot)["source"] if boot else None
    return str(source["sha256"]) if source else variables.get(_PACKAGE, "")
