"""A Ray job as requests of Lepton: the create call of its cluster, or the job on a cluster that is there. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.body import escaped_env, merged, refuse
from nemo_runspec.platforms.lepton import placement, problems_of
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import NAME, NODE_GROUP_ID, Request
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.workload import Workload

CLUSTER_KIND: Final = "raycluster"
"""A workload that is a cluster of its own with the driver on it."""

JOB_KIND: Final = "rayjob"
"""A workload that is a driver on a cluster that was there before."""

RAY_KINDS: Final = frozenset({CLUSTER_KIND, JOB_KIND})

EXISTING: Final = "<ray cluster>"
"""Key of `Request.names` for the name of the cluster that was there."""

PACKAGE_VARIABLE: Final = "NEMO_RUNSPEC_RAY_PACKAGE"
"""Tells on a cluster what it was made for, and makes the request of another job another one."""

_VERSION: Final = re.compile(r"\d+\.\d+\.\d+\S*")
_GROUP_FIELDS: Final = frozenset(
    (
        *("accelerator_fraction", "accelerator_memory", "accelerator_num", "accelerator_pass_all", "accelerator_type"),
        *("cpu", "memory", "ephemeral_storage_in_gb", "host_network", "enable_rdma", "is_adaptive"),
        *("queue_config", "reservation_config", "segment_config", "shared_memory_size", "user_security_context"),
    )
)
"""What `custom_spec` may add to the groups of a cluster (leptonai 0.27, `RayClusterCommonGroupSpec`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """What a profile says about its Ray clusters.

    Args:
        version: Version of Ray in the image.
        head_resource_shape: Machine shape of a head beside the nodes; without it the first node is the head.
        existing: A cluster that is there, instead of a new one.
    """

    version: str | None = None
    head_resource_shape: str | None = None
    existing: str | None = None


def cluster_request(workload: Workload, settings: LeptonSettings, ray: RaySettings, *, package: str = "") -> Request:
    """Build the create call of a cluster (`POST /rayclusters`).

    A job on N nodes gets N machines of the profile's shape. With `head_resource_shape` the head is one more beside
    them; without it the head is one of them.

    Args:
        workload: The image, the variables, and the number of nodes.
        settings: The profile's part.
        ray: The profile's part about Ray.
        package: Address of what the driver is; empty for a cluster that is made for no job.

    Raises:
        ProfileError: With everything in it that the platform would refuse.
    """
    problems = problems_of(workload, settings)
    if not ray.version:
        problems.append('a Ray cluster needs the version of Ray in its image, for example: ray_version = "2.49.2"')
    elif not _VERSION.fullmatch(ray.version):
        problems.append(f"ray_version is '{ray.version}'; it is a version such as 2.49.2, and no image")
    unknown = sorted(set(settings.custom_spec) - _GROUP_FIELDS)
    problems += [f"custom_spec sets '{name}', which the groups of a Ray cluster do not have" for name in unknown]
    refuse(problems, LIMITS["lepton"])
    marked = (*workload.env, *(((PACKAGE_VARIABLE, package),) if package else ()), *workload.secrets)
    envs = escaped_env(sorted(marked))
    envs += [
        {"name": name, "value_from": {"secret_name_ref": secret}} for name, secret in workload.secret_references.items()
    ]
    common: dict[str, Any] = {
        "affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]},
        "envs": envs,
        "mounts": thaw(settings.mounts),
        **placement(settings),
    }
    common = merged(common, settings.custom_spec)
    workers = workload.nodes - (0 if ray.head_resource_shape else 1)
    head = {**common, "resource_shape": ray.head_resource_shape or settings.resource_shape, "min_replicas": 1}
    group = {**common, "resource_shape": settings.resource_shape, "min_replicas": workers}
    spec = {
        "image": workload.image,
        "image_pull_secrets": list(settings.image_pull_secrets),
        "ray_version": ray.version,
        "suspend": False,
        "head_group_spec": head,
        "worker_group_specs": [group] if workers else [],
    }
    return Request(
        platform="lepton",
        kind=CLUSTER_KIND,
        body={"metadata": {"id": NAME, "name": NAME}, "spec": spec},
        secret_variables=frozenset(name for name, _ in workload.secrets),
        names=MappingProxyType({NODE_GROUP_ID: settings.node_group or ""}),
    )


def job_request(ray: RaySettings, *, package: str, env: Mapping[str, str]) -> Request:
    """Build the request of a job on a cluster that is there; it makes nothing but the driver.

    Args:
        ray: The profile's part about Ray, with the name of the cluster.
        package: Address of what the driver is.
        env: The job's variables.
    """
    body = {"cluster": ray.existing, "spec": {"package": package, "envs": escaped_env(sorted(env.items()))}}
    return Request(platform="lepton", kind=JOB_KIND, body=body, names=MappingProxyType({EXISTING: str(ray.existing)}))
