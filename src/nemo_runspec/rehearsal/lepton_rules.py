"""What Lepton refuses in a job, and the pods that it makes of one.

Sources: the cloud API notes; leptonai 0.27 (api/v1/types/job.py) for fields, leptonai 0.47 (api/v2/job_validation.py,
spec_utils.py) for names, variables and mount paths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.storage import NODE_LOCAL
from nemo_runspec.rehearsal.expansion import Variable, expand, expand_environment
from nemo_runspec.rehearsal.platform_rules import LEPTON
from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.rules import Issues, Table
from nemo_runspec.rehearsal.volumes import lepton_mounts
from nemo_runspec.rehearsal.workloads import random_letters

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nemo_runspec.rehearsal.inventory import LeptonInventory

_SPEC: Final = frozenset(
    (
        *("affinity", "completions", "container", "envs", "image_pull_secrets", "intra_job_communication", "log"),
        *("max_failure_retry", "max_job_failure_retry", "metrics", "mounts", "parallelism", "privileged"),
        *("queue_config", "reservation_config", "resource_shape", "segment_config", "shared_memory_size", "stopped"),
        *("time_schedule", "ttl_seconds_after_finished", "user_security_context"),
    )
)
_PATH_BYTES: Final = 2048
"""Half of Linux' PATH_MAX; the other half is for where this machine has the volume."""
_PART_BYTES: Final = 255
_GPUS: Final = re.compile(r"gpu\.(?:(?P<count>\d+)x)?(?P<type>.+)")


def job_issues(body: Table, inventory: LeptonInventory) -> dict[str, str]:
    """Say everything that the platform has against a job.

    Args:
        body: The create call's body.
        inventory: What exists.
    """
    issues = Issues()
    spec = check_envelope(body, _SPEC, issues)
    shape = issues.text(spec, "resource_shape", "spec.resource_shape", required=True)
    if shape and shape not in inventory.shapes:
        issues.add("spec.resource_shape", f"resource shape '{shape}' does not exist")
    container = issues.table(spec, "container", "spec.container", required=True)
    issues.unknown(container, {"image", "command", "ports"}, "spec.container")
    issues.text(container, "image", "spec.container.image", required=True)
    if not issues.texts(container, "command", "spec.container.command"):
        issues.add("spec.container.command", "must be a list of texts that is not empty")
    elif any("\0" in word for word in container["command"]):
        issues.add("spec.container.command", "must not hold a NUL byte")
    _check_numbers(spec, issues)
    check_affinity(spec, inventory, issues)
    check_envs(issues.rows(spec, "envs", "spec.envs"), inventory, issues)
    check_mounts(issues.rows(spec, "mounts", "spec.mounts"), inventory, issues)
    check_secrets(spec, inventory, issues)
    return issues.found


def check_envelope(body: Table, known: frozenset[str], issues: Issues) -> Table:
    """Say what is wrong about the frame that all create calls have, and give the specification in it.

    Args:
        body: The create call's body.
        known: The fields of the specification.
        issues: Takes what is found.
    """
    issues.unknown(body, {"metadata", "spec", "status"}, "")
    metadata = issues.table(body, "metadata", "metadata", required=True)
    name = issues.text(metadata, "id", "metadata.id") or issues.text(metadata, "name", "metadata.name", required=True)
    if name:
        issues.extend("metadata.id", LEPTON.name_issues(name))
    spec = issues.table(body, "spec", "spec", required=True)
    issues.unknown(spec, known, "spec")
    return spec


def check_secrets(spec: Table, inventory: LeptonInventory, issues: Issues) -> None:
    """Say which registry secrets of a specification do not exist."""
    unknown = set(issues.texts(spec, "image_pull_secrets", "spec.image_pull_secrets")) - inventory.image_pull_secrets
    issues.extend("spec.image_pull_secrets", (f"secret '{name}' does not exist" for name in sorted(unknown)))


def _check_numbers(spec: Table, issues: Issues) -> None:
    completions = issues.whole(spec, "completions", "spec.completions", least=1, default=1)
    parallelism = issues.whole(spec, "parallelism", "spec.parallelism", least=1, default=1)
    if completions != parallelism:
        issues.add("spec.parallelism", "a rehearsal runs all pods at once: parallelism must equal completions")
    issues.whole(spec, "shared_memory_size", "spec.shared_memory_size", least=1)
    for name in ("ttl_seconds_after_finished", "max_failure_retry", "max_job_failure_retry"):
        issues.whole(spec, name, f"spec.{name}", least=0)
    for name in ("intra_job_communication", "privileged", "stopped"):
        issues.flag(spec, name, f"spec.{name}")
    schedule = issues.table(spec, "time_schedule", "spec.time_schedule")
    issues.whole(schedule, "start_at", "spec.time_schedule.start_at", least=0)
    queue = issues.table(spec, "queue_config", "spec.queue_config")
    issues.text(queue, "priority_class", "spec.queue_config.priority_class", required=bool(queue))
    for name in ("can_be_preempted", "can_preempt"):
        issues.flag(queue, name, f"spec.queue_config.{name}")


def check_affinity(spec: Table, inventory: LeptonInventory, issues: Issues, at: str = "spec") -> None:
    """Say what is wrong with where a specification, which stands at a field, wants its pods."""
    affinity = issues.table(spec, "affinity", f"{at}.affinity")
    groups = issues.texts(affinity, "allowed_dedicated_node_groups", f"{at}.affinity.allowed_dedicated_node_groups")
    known = inventory.node_group_ids()
    missing = (f"node group '{group}' does not exist" for group in groups if group not in known)
    issues.extend(f"{at}.affinity.allowed_dedicated_node_groups", missing)
    nodes = issues.texts(affinity, "allowed_nodes_in_node_group", f"{at}.affinity.allowed_nodes_in_node_group")
    there = {node for group in groups for node in inventory.node_ids(group)}
    strangers = (f"node '{node}' is in none of the node groups" for node in nodes if node not in there)
    issues.extend(f"{at}.affinity.allowed_nodes_in_node_group", strangers)
    reservation = issues.table(spec, "reservation_config", f"{at}.reservation_config")
    name = issues.text(reservation, "reservation_id", f"{at}.reservation_config.reservation_id")
    if name and name not in inventory.reservations:
        issues.add(f"{at}.reservation_config.reservation_id", f"reservation '{name}' does not exist")


def check_envs(rows: Iterable[Table], inventory: LeptonInventory, issues: Issues, at: str = "spec") -> None:
    """Say what is wrong with the variables of a specification, which stands at a field."""
    for number, row in enumerate(rows):
        field = f"{at}.envs[{number}]"
        issues.unknown(row, {"name", "value", "value_from"}, field)
        name = issues.text(row, "name", f"{field}.name", required=True)
        if name:
            issues.extend(f"{field}.name", LEPTON.variable_issues(name))
        source = issues.table(row, "value_from", f"{field}.value_from")
        value = row.get("value")
        if bool(source) == isinstance(value, str):
            issues.add(field, "must have either a value or value_from")
        elif isinstance(value, str) and "\0" in value:
            issues.add(f"{field}.value", "must not hold a NUL byte")
        elif source:
            secret = issues.text(source, "secret_name_ref", f"{field}.value_from.secret_name_ref", required=True)
            if secret and secret not in inventory.secrets:
                issues.add(f"{field}.value_from.secret_name_ref", f"secret '{secret}' does not exist")


def check_mounts(rows: Iterable[Table], inventory: LeptonInventory, issues: Issues, at: str = "spec") -> None:
    """Say what is wrong with the mounts of a specification, which stands at a field."""
    places = []
    for number, row in enumerate(rows):
        field = f"{at}.mounts[{number}]"
        issues.unknown(row, {"path", "mount_path", "from", "mount_options"}, field)
        path = issues.text(row, "path", f"{field}.path", required=True)
        if ".." in path.split("/"):
            issues.add(f"{field}.path", "must not leave the volume")
        if len(path.encode()) > _PATH_BYTES or any(len(part.encode()) > _PART_BYTES for part in path.split("/")):
            issues.add(f"{field}.path", "is longer than a path of a file system can be")
        volume = issues.text(row, "from", f"{field}.from", required=True)
        if volume and volume != NODE_LOCAL and volume not in inventory.volumes:
            issues.add(f"{field}.from", f"volume '{volume}' does not exist")
        options = issues.table(row, "mount_options", f"{field}.mount_options")
        issues.unknown(options, {"read_only", "local_cache_size_mib"}, f"{field}.mount_options")
        issues.flag(options, "read_only", f"{field}.mount_options.read_only")
        places.append(issues.text(row, "mount_path", f"{field}.mount_path", required=True))
    issues.extend(f"{at}.mounts", LEPTON.mount_issues(filter(None, places)))


def job_pods(job: str, spec: Table, inventory: LeptonInventory, folder: Path) -> tuple[PodSpec, ...]:
    """Give the pods of a job that the rules let pass.

    Args:
        job: The job's identifier.
        spec: Its specification.
        inventory: What exists.
        folder: The twin's folder; volumes and logs are below it.
    """
    count = spec.get("completions") or 1
    names = [f"{job}-{index}-{random_letters(5)}" for index in range(count)]
    hosts = _hosts(job, names, inventory, with_service=spec.get("intra_job_communication") is True)
    pods = []
    for index, name in enumerate(names):
        given = [variable(row, inventory) for row in spec.get("envs") or ()]
        own = (Variable(key, value, is_literal=True) for key, value in _platform(job, index, names, spec, inventory))
        environment = expand_environment((Variable("HOSTNAME", name, is_literal=True), *given, *own))
        pods.append(
            PodSpec(
                name=name,
                argv=tuple(expand(word, environment) for word in spec["container"]["command"]),
                env=tuple(environment.items()),
                network=job,
                hosts=hosts,
                mounts=lepton_mounts(spec.get("mounts") or (), folder / "volumes", job=job, node=index),
                log=folder / "logs" / job / f"{name}.log",
            )
        )
    return tuple(pods)


def variable(row: Table, inventory: LeptonInventory) -> Variable:
    """Give a variable of a specification, with the value of the secret that it names."""
    source = row.get("value_from")
    if source:
        return Variable(row["name"], inventory.secrets[source["secret_name_ref"]], is_literal=True)
    return Variable(row["name"], row["value"])


def _hosts(job: str, names: Iterable[str], inventory: LeptonInventory, *, with_service: bool) -> tuple[str, ...]:
    """Give the names that resolve in the job: pods find each other only where the job asked for that."""
    found: list[str] = []
    for index, name in enumerate(names):
        found.append(name)
        if with_service:
            short = f"worker-{index}.{job}-job-svc"
            found += [short, f"{short}.ws-{inventory.workspace_id}.svc.cluster.local"]
    return tuple(found)


def _platform(
    job: str, index: int, names: list[str], spec: Table, inventory: LeptonInventory
) -> Iterable[tuple[str, Any]]:
    """Give the variables that the platform sets (its documentation, sample environment of a job)."""
    gpus = _GPUS.fullmatch(spec["resource_shape"])
    yield "LEPTON_JOB_NAME", job
    yield "LEPTON_WORKER_ID", names[index]
    yield "LEPTON_JOB_WORKER_INDEX", str(index)
    yield "LEPTON_JOB_TOTAL_WORKERS", str(len(names))
    yield "LEPTON_JOB_WORKER_PREFIX", "worker"
    yield "LEPTON_JOB_WORKER_HOSTNAME_PREFIX", "worker"
    yield "LEPTON_SUBDOMAIN", f"{job}-job-svc"
    yield "LEPTON_JOB_SERVICE_PREFIX", job
    yield "LEPTON_JOB_FAILURE_COUNT", "0"
    yield "LEPTON_WORKSPACE_ID", inventory.workspace_id
    yield "LEPTON_RESOURCE_ACCELERATOR_TYPE", gpus["type"] if gpus else ""
    yield "LEPTON_RESOURCE_ACCELERATOR_NUM", accelerators(spec["resource_shape"])
    yield "LEPTON_VIRTUAL_ENV", "/opt/lepton/venv"


def accelerators(shape: str) -> str:
    """Give the number of GPUs that a resource shape has, as the platform tells it."""
    gpus = _GPUS.fullmatch(shape)
    return (gpus["count"] or "1") if gpus else "0"
