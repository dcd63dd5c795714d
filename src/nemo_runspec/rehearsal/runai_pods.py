"""The pods that run:ai makes of a workload, with what its training operator adds to their environment.

Sources: run:ai's documentation for its own variables; Kubeflow training-operator 1.9 (pkg/controller.v1/pytorch/
envvar.go) for those of PyTorch workloads; the cloud API notes for which pods there are.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.rehearsal.expansion import Variable, expand, expand_environment
from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.volumes import runai_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.rehearsal.inventory import RunaiInventory
    from nemo_runspec.rehearsal.rules import Table

MASTER_PORT: Final = 23456
_REFERENCE: Final = re.compile(r"\$(?:\{(?P<braced>\w+)\}|\((?P<round>\w+)\))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A workload that the rules let pass.

    Args:
        id: Its identifier.
        name: Its final name.
        kind: `workspaces`, `trainings` or `distributed`.
        project: Its project's name.
        spec: Its specification.
        with_master: Whether a distributed workload has a master besides its workers.
    """

    id: str
    name: str
    kind: str
    project: str
    spec: Table
    with_master: bool

    @property
    def pod_names(self) -> list[str]:
        """The names of its pods in the order of their ranks; they are host names too."""
        if self.kind != "distributed":
            return [f"{self.name}-0-0"]
        workers = [f"{self.name}-worker-{index}" for index in range(self.spec["numWorkers"])]
        return [f"{self.name}-master-0", *workers] if self.with_master else workers


def workload_pods(accepted: Accepted, inventory: RunaiInventory, folder: Path) -> tuple[PodSpec, ...]:
    """Give the pods of a workload.

    Args:
        accepted: The workload.
        inventory: What exists.
        folder: The twin's folder; volumes and logs are below it.
    """
    names = accepted.pod_names
    spec = accepted.spec
    claims = [
        {**claim, "claimName": None} if claim.get("ephemeral") is True else claim
        for claim in (spec.get("storage") or {}).get("pvc") or ()
    ]
    mounts = runai_mounts(claims, folder / "volumes", project=accepted.project, workload=accepted.name)
    words = [*shlex.split(spec["command"]), *shlex.split(spec.get("args") or "")]
    pods = []
    for rank, name in enumerate(names):
        platform = dict(_platform(accepted, rank))
        given = [_variable(row, inventory) for row in spec.get("environmentVariables") or ()]
        added = (*platform.items(), *(_pytorch(accepted, rank) if accepted.kind == "distributed" else ()))
        # The operator appends its variables, and of two with one name the last counts.
        own = (Variable(key, value, is_literal=True) for key, value in added)
        environment = expand_environment((Variable("HOSTNAME", name, is_literal=True), *given, *own))
        pods.append(
            PodSpec(
                name=name,
                argv=tuple(expand(_with_platform(word, platform), environment) for word in words),
                env=tuple(environment.items()),
                network=accepted.id,
                hosts=_hosts(names, accepted.project),
                mounts=mounts,
                log=folder / "logs" / accepted.name / f"{name}.log",
            )
        )
    return tuple(pods)


def _variable(row: Table, inventory: RunaiInventory) -> Variable:
    secret = row.get("secret")
    if secret:
        return Variable(row["name"], inventory.secrets[secret["name"]][secret["key"]], is_literal=True)
    return Variable(row["name"], row["value"])


def _with_platform(word: str, platform: Mapping[str, str]) -> str:
    """Put the platform's own variables into a word; everything else of that form is the shell's."""
    return _REFERENCE.sub(lambda found: platform.get(found["braced"] or found["round"], found[0]), word)


def _hosts(names: list[str], project: str) -> tuple[str, ...]:
    return tuple(host for name in names for host in (name, f"{name}.runai-{project}.svc.cluster.local"))


def _platform(accepted: Accepted, rank: int) -> Iterator[tuple[str, str]]:
    """Give run:ai's variables; documentation and clusters differ in their names, so both families are set."""
    for name in ("RUNAI_JOB_UUID", "JOB_UUID", "jobUUID"):
        yield name, accepted.id
    for name in ("RUNAI_JOB_NAME", "JOB_NAME", "jobName"):
        yield name, accepted.name
    yield "RUNAI_PROJECT", accepted.project
    yield "RUNAI_NUM_OF_GPUS", str((accepted.spec.get("compute") or {}).get("gpuDevicesRequest") or 0)
    yield "NODE_NAME", f"node-{rank}"


def _pytorch(accepted: Accepted, rank: int) -> Iterator[tuple[str, str]]:
    """Give the training operator's variables of a pod."""
    names = accepted.pod_names
    yield "PYTHONUNBUFFERED", "1"
    yield "PET_NPROC_PER_NODE", "auto"
    if accepted.with_master:
        for prefix in ("", "PET_"):
            yield f"{prefix}MASTER_ADDR", names[0]
            yield f"{prefix}MASTER_PORT", str(MASTER_PORT)
        yield "WORLD_SIZE", str(len(names))
        yield "RANK", str(rank)
        yield "PET_NODE_RANK", str(rank)
        yield "PET_NNODES", str(len(names))
        return
    workers = accepted.spec["numWorkers"]
    least = accepted.spec.get("minReplicas") or workers
    most = accepted.spec.get("maxReplicas") or workers
    yield "PET_NNODES", f"{least}:{most}"
    yield "PET_RDZV_BACKEND", "c10d"
    yield "PET_RDZV_ENDPOINT", f"{names[0]}:{MASTER_PORT}"
