"""What Lepton refuses in a Ray cluster, and the pods that it makes of one: a head and workers, each a real Ray node.

The pods start Ray as KubeRay's do (https://docs.ray.io/en/latest/cluster/kubernetes): the head first, the workers when
it listens.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.rehearsal.expansion import Variable, expand_environment
from nemo_runspec.rehearsal.lepton_rules import (
    accelerators,
    check_affinity,
    check_envelope,
    check_envs,
    check_mounts,
    check_secrets,
    variable,
)
from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.rules import Issues, Table
from nemo_runspec.rehearsal.volumes import lepton_mounts
from nemo_runspec.rehearsal.workloads import random_letters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.inventory import LeptonInventory

_SPEC: Final = frozenset(
    {"autoscaler", "head_group_spec", "image", "image_pull_secrets", "ray_version", "suspend", "worker_group_specs"}
)
_GROUP: Final = frozenset(
    (
        *("accelerator_fraction", "accelerator_memory", "accelerator_num", "accelerator_pass_all", "accelerator_type"),
        *("affinity", "container", "cpu", "enable_rdma", "envs", "ephemeral_storage_in_gb", "host_network"),
        *("is_adaptive", "max_replicas", "memory", "min_replicas", "mounts", "queue_config", "reservation_config"),
        *("resource_shape", "segment_config", "shared_memory_size", "user_security_context"),
    )
)
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.]*")
GCS_PORT: Final = 6379
_STORE_BYTES: Final = 100 * 1024 * 1024
"""Each node's object store: little, since all nodes are on one machine."""

# The first process of a pod gets only the signals that it has a handler for.
_START: Final = (
    "child=; trap 'test -z \"$child\" || kill $child; wait; exit 143' TERM; ulimit -n 65536 2>/dev/null; "
    "{before}ray start --block {role} --node-ip-address={address} {resources} & child=$!; wait $child"
)
_HEAD: Final = "--head --port={gcs} --dashboard-host=127.0.0.1 --dashboard-port=8265"
_WORKER: Final = "--address={head}:{gcs}"
_BEFORE_WORKER: Final = "until (exec 3<>/dev/tcp/{head}/{gcs}) 2>/dev/null; do sleep 0.2; done; "


def cluster_issues(body: Table, inventory: LeptonInventory) -> dict[str, str]:
    """Say everything that the platform has against a Ray cluster.

    Args:
        body: The create call's body.
        inventory: What exists.
    """
    issues = Issues()
    spec = check_envelope(body, _SPEC, issues)
    issues.text(spec, "image", "spec.image", required=True)
    version = issues.text(spec, "ray_version", "spec.ray_version", required=True)
    if version and not _VERSION.fullmatch(version):
        issues.add("spec.ray_version", f"'{version}' is not a version of Ray")
    issues.flag(spec, "suspend", "spec.suspend")
    check_secrets(spec, inventory, issues)
    head = issues.table(spec, "head_group_spec", "spec.head_group_spec", required=True)
    _check_group(head, "spec.head_group_spec", _GROUP, inventory, issues)
    if head.get("min_replicas") not in {None, 1}:
        issues.add("spec.head_group_spec.min_replicas", "a cluster has one head")
    for number, group in enumerate(issues.rows(spec, "worker_group_specs", "spec.worker_group_specs")):
        field = f"spec.worker_group_specs[{number}]"
        _check_group(group, field, _GROUP | {"group_name"}, inventory, issues)
        issues.whole(group, "min_replicas", f"{field}.min_replicas", least=0)
    return issues.found


def _check_group(group: Table, field: str, known: frozenset[str], inventory: LeptonInventory, issues: Issues) -> None:
    issues.unknown(group, known, field)
    shape = issues.text(group, "resource_shape", f"{field}.resource_shape", required=True)
    if shape and shape not in inventory.shapes:
        issues.add(f"{field}.resource_shape", f"resource shape '{shape}' does not exist")
    if group.get("container") is not None:
        # What becomes of `ray start` where a group has a command of its own is not documented.
        issues.add(f"{field}.container", "a rehearsal knows the image of a cluster only from spec.image")
    issues.whole(group, "shared_memory_size", f"{field}.shared_memory_size", least=1)
    check_affinity(group, inventory, issues, field)
    check_envs(issues.rows(group, "envs", f"{field}.envs"), inventory, issues, field)
    check_mounts(issues.rows(group, "mounts", f"{field}.mounts"), inventory, issues, field)


def network_of(name: str) -> str:
    """Give the network of a cluster's pods, which is no job's."""
    return f"ray-{name}"


def cluster_pods(name: str, spec: Table, inventory: LeptonInventory, folder: Path) -> tuple[PodSpec, ...]:
    """Give the pods of a cluster that the rules let pass, the head first.

    Args:
        name: The cluster's name.
        spec: Its specification.
        inventory: What exists.
        folder: The twin's folder; volumes and logs are below it.
    """
    groups = [("head", spec["head_group_spec"], 1)]
    for number, group in enumerate(spec.get("worker_group_specs") or ()):
        groups.append((group.get("group_name") or f"worker-{number}", group, group.get("min_replicas") or 0))
    members = [(f"{name}-{title}-{random_letters(5)}", group) for title, group, count in groups for _ in range(count)]
    hosts = (f"{name}-head-svc", *(pod for pod, _ in members))
    pods = []
    for index, (pod, group) in enumerate(members):
        given = [variable(row, inventory) for row in group.get("envs") or ()]
        own = (Variable(key, value, is_literal=True) for key, value in _platform(inventory))
        environment = expand_environment((Variable("HOSTNAME", pod, is_literal=True), *given, *own))
        pods.append(
            PodSpec(
                name=pod,
                argv=("bash", "-c", _command(group, index)),
                env=tuple(environment.items()),
                network=network_of(name),
                hosts=hosts,
                mounts=lepton_mounts(group.get("mounts") or (), folder / "volumes", job=name, node=index),
                log=folder / "logs" / name / f"{pod}.log",
            )
        )
    return tuple(pods)


def _command(group: Table, index: int) -> str:
    cpus = len(os.sched_getaffinity(0))
    resources = (
        f"--num-cpus={cpus} --num-gpus={accelerators(group['resource_shape'])} --object-store-memory={_STORE_BYTES} "
        "--disable-usage-stats"
    )
    # All pods of a network have one loopback interface; each node of Ray has an address of its own on it.
    place = {"head": "127.0.0.1", "gcs": GCS_PORT}
    return _START.format(
        before=_BEFORE_WORKER.format(**place) if index else "",
        role=(_WORKER if index else _HEAD).format(**place),
        address=f"127.0.0.{index + 1}",
        resources=resources,
    )


def _platform(inventory: LeptonInventory) -> Iterator[tuple[str, Any]]:
    yield "LEPTON_WORKSPACE_ID", inventory.workspace_id
