"""A workload as a job of DGX Cloud Lepton: one request, which opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.body import escaped_env, merged, refuse, spec_problems, workload_problems
from nemo_runspec.platforms.kubernetes import escape
from nemo_runspec.platforms.limits import LIMITS, mount_problems
from nemo_runspec.platforms.workload import NAME, NODE_GROUP_ID, Request
from nemo_runspec.toml.values import empty_table, thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.workload import Workload

_LIMITS: Final = LIMITS["lepton"]
_VOLUME: Final = re.compile(r"node-local|node-[a-z0-9]+:.+")
_KEPT_S: Final = 259_200
"""How long the platform keeps an ended job: three days, as its own `lep job create` asks."""
_PRIORITY: Final = "mid-4000"
"""The priority class that nemo-run asks for where a profile has a preemption flag and names none."""
_OURS: Final = ("affinity", "completions", "container", "envs", "mounts", "parallelism", "resource_shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonSettings:
    """What a profile says about Lepton; the keys of its `[lepton]` profile have the same names.

    Args:
        resource_shape: Machine shape of each pod.
        node_group: Name of the dedicated node group.
        node_reservation: Reservation within it.
        shared_memory_size: Size of /dev/shm in MiB.
        mounts: Tables with `path`, `mount_path`, `from` and perhaps `mount_options`.
        image_pull_secrets: The workspace's registry secrets.
        can_be_preempted: Whether jobs of higher priority may take its nodes.
        can_preempt: Whether it may take the nodes of others.
        queue_priority: Priority class.
        custom_spec: More fields of the job's `spec`.
    """

    resource_shape: str | None = None
    node_group: str | None = None
    node_reservation: str | None = None
    shared_memory_size: int | None = None
    mounts: tuple[Mapping[str, Any], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    can_be_preempted: bool | None = None
    can_preempt: bool | None = None
    queue_priority: str | None = None
    custom_spec: Mapping[str, Any] = field(default_factory=empty_table)


def request(workload: Workload, settings: LeptonSettings) -> Request:
    """Build the create call of a job (`POST /jobs`).

    The pods are not tied to single nodes: which of the group's nodes can take them is the platform's to say.

    Args:
        workload: The job.
        settings: The profile's part.

    Raises:
        ProfileError: With everything in it that the platform would refuse.
    """
    _check(workload, settings)
    envs = escaped_env((*workload.env, *workload.secrets))
    envs += [
        {"name": name, "value_from": {"secret_name_ref": secret}} for name, secret in workload.secret_references.items()
    ]
    spec: dict[str, Any] = {
        "resource_shape": settings.resource_shape,
        "affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]},
        "container": {"image": workload.image, "command": [escape(word) for word in workload.argv]},
        "completions": workload.nodes,
        "parallelism": workload.nodes,
        "envs": envs,
        "mounts": thaw(settings.mounts),
        "image_pull_secrets": list(settings.image_pull_secrets),
        "intra_job_communication": True,
        "ttl_seconds_after_finished": _KEPT_S,
        **_optional(workload, settings),
    }
    return Request(
        platform="lepton",
        kind="job",
        body={"metadata": {"id": NAME}, "spec": merged(spec, settings.custom_spec)},
        secret_variables=frozenset(name for name, _ in workload.secrets),
    )


def _optional(workload: Workload, settings: LeptonSettings) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if settings.shared_memory_size is not None:
        fields["shared_memory_size"] = settings.shared_memory_size
    if settings.node_reservation:
        fields["reservation_config"] = {"reservation_id": settings.node_reservation}
    if workload.retries:
        fields["max_failure_retry"] = workload.retries
    queue = {"can_be_preempted": settings.can_be_preempted, "can_preempt": settings.can_preempt}
    flags = {name: flag for name, flag in queue.items() if flag is not None}
    if settings.queue_priority or any(flags.values()):
        fields["queue_config"] = {"priority_class": settings.queue_priority or _PRIORITY, **flags}
    return fields


def _check(workload: Workload, settings: LeptonSettings) -> None:
    problems = workload_problems(workload, _LIMITS)
    for name, example in (("resource_shape", "gpu.8xh100-sxm"), ("node_group", "my-node-group")):
        if not getattr(settings, name):
            problems.append(f"Lepton needs '{name}', for example: {name} = \"{example}\"")
    if settings.shared_memory_size is not None and settings.shared_memory_size < 1:
        problems.append(f"shared_memory_size is {settings.shared_memory_size} MiB; it must be 1 or more")
    for number, mount in enumerate(settings.mounts):
        lacking = [key for key in ("path", "mount_path", "from") if not mount.get(key)]
        problems += [f"mounts[{number}] lacks '{key}'" for key in lacking]
        volume = str(mount.get("from") or "node-local")
        if not _VOLUME.fullmatch(volume):
            problems.append(
                f"mounts[{number}] is from '{volume}'; Lepton knows 'node-local' and 'node-<type>:<volume>', such as "
                "'node-nfs:shared'"
            )
    problems += mount_problems(
        (str(mount["mount_path"]) for mount in settings.mounts if mount.get("mount_path")), _LIMITS
    )
    problems += [
        f"the secret of '{name}' has no name" for name, secret in workload.secret_references.items() if not secret
    ]
    problems += spec_problems(settings.custom_spec, _OURS)
    refuse(problems, _LIMITS)
