"""A workload as one of run:ai's: one request, which opens nothing."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.body import escaped_env, merged, refuse, spec_problems, workload_problems
from nemo_runspec.platforms.kubernetes import escape
from nemo_runspec.platforms.limits import LIMITS, mount_problems
from nemo_runspec.platforms.workload import CLUSTER_ID, NAME, PROJECT_ID, Request
from nemo_runspec.toml.values import empty_table, thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.workload import Workload

_LIMITS: Final = LIMITS["dgxcloud"]
_CLAIM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_MAX_ARGS_CHARS: Final = 9_500
_OURS: Final = (
    "args",
    "command",
    "compute.gpuDevicesRequest",
    "distributedFramework",
    "environmentVariables",
    "image",
    "maxReplicas",
    "minReplicas",
    "numWorkers",
    "storage.pvc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunaiSettings:
    """What a profile says about run:ai.

    Args:
        project_name: The project that pays.
        pvcs: Tables with `path`, `claimName` and run:ai's other fields of a volume claim.
        distributed_framework: Framework of workloads with several pods.
        custom_spec: More fields of the workload's `spec`.
        max_args_chars: Longest `args` to send, in bytes.
    """

    project_name: str
    pvcs: tuple[Mapping[str, Any], ...] = ()
    distributed_framework: str = "PyTorch"
    custom_spec: Mapping[str, Any] = field(default_factory=empty_table)
    max_args_chars: int = _MAX_ARGS_CHARS


def request(workload: Workload, settings: RunaiSettings) -> Request:
    """Build the create call of a workload (`POST /workloads/trainings` for one pod, `/workloads/distributed` for more).

    The platform splits `command` and `args` into words as a shell does, and the name is taken as it is. It says
    nothing about a master: the pods cope with both of the platform's layouts.

    Args:
        workload: The job.
        settings: The profile's part.

    Raises:
        ProfileError: With everything in it that the platform would refuse.
    """
    words = [escape(word) for word in workload.argv]
    command, args = shlex.join(words[:1]), shlex.join(words[1:])
    _check(workload, settings, command=command, args=args)
    variables = escaped_env((*workload.env, *workload.secrets))
    variables += [
        {"name": name, "secret": _secret(name, secret)} for name, secret in workload.secret_references.items()
    ]
    spec: dict[str, Any] = {
        "command": command,
        **({"args": args} if args else {}),
        "image": workload.image,
        "compute": {"gpuDevicesRequest": workload.gpus_per_node, "largeShmRequest": True},
        "storage": {"pvc": thaw(settings.pvcs)},
        "environmentVariables": variables,
        "backoffLimit": workload.retries,
    }
    if workload.nodes > 1:
        replicas = dict.fromkeys(("minReplicas", "maxReplicas", "numWorkers"), workload.nodes)
        spec |= {"distributedFramework": settings.distributed_framework, **replicas}
    return Request(
        platform="dgxcloud",
        kind="distributed" if workload.nodes > 1 else "trainings",
        body={
            "name": NAME,
            "useGivenNameAsPrefix": False,
            "projectId": PROJECT_ID,
            "clusterId": CLUSTER_ID,
            "spec": merged(spec, settings.custom_spec),
        },
        secret_variables=frozenset(name for name, _ in workload.secrets),
    )


def _secret(variable: str, reference: str) -> dict[str, str]:
    """Give `SECRET/KEY` or `SECRET` as run:ai takes it; without a key, it is the variable's name."""
    name, _, key = reference.partition("/")
    return {"name": name, "key": key or variable}


def _check(workload: Workload, settings: RunaiSettings, *, command: str, args: str) -> None:
    problems = workload_problems(workload, _LIMITS)
    if not settings.project_name:
        problems.append("run:ai needs 'project_name'")
    longest = (("command", command, _LIMITS.argument_bytes), ("args", args, settings.max_args_chars))
    for name, text, most in longest:
        if most is not None and len(text.encode()) > most:
            problems.append(f"the command's '{name}' has {len(text.encode()):,} bytes; run:ai takes {most:,}")
    for number, pvc in enumerate(settings.pvcs):
        claim = str(pvc.get("claimName") or "")
        problems += [f"pvcs[{number}] lacks '{key}'" for key in ("path", "claimName") if not pvc.get(key)]
        if claim and not _CLAIM.fullmatch(claim):
            problems.append(
                f"pvcs[{number}] has the claimName '{claim}': up to 63 small letters, digits, '-' and '.' can be one"
            )
    problems += mount_problems((str(pvc["path"]) for pvc in settings.pvcs if pvc.get("path")), _LIMITS)
    problems += [
        f"the secret of '{name}' is '{secret}'; it must be SECRET or SECRET/KEY"
        for name, secret in workload.secret_references.items()
        if not re.fullmatch(r"[^/]+(/[^/]+)?", secret)
    ]
    problems += spec_problems(settings.custom_spec, _OURS)
    refuse(problems, _LIMITS)
