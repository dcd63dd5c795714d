"""Which fields a run:ai workload may have.

Source: the models that run:ai's own Python client (`runapy` on PyPI) generates from its OpenAPI document:
`TrainingSpecSpec`, `WorkspaceSpecSpec` and `DistributedSpecSpec`, `SupersetSpecAllOf{Compute,Storage,Security}`,
`EnvironmentVariable` and `PvcInstance`; `migProfile` and a claim's `url` are of older releases. What is not among them,
the platform does not know: most often a name that is written wrong.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERY_KIND: Final = frozenset(
    (
        *("annotations", "args", "autoDeletionTimeAfterCompletionSeconds", "backoffLimit", "category", "command"),
        *("compute", "createHomeDir", "environmentVariables", "exposedUrls", "image", "imagePullPolicy"),
        *("imagePullSecrets", "labels", "nodeAffinityRequired", "nodePools", "nodeType", "podAffinity", "ports"),
        *("preemptibility", "priorityClass", "probes", "relatedUrls", "restartPolicy", "security", "stdin", "storage"),
        *("terminateAfterPreemption", "terminationGracePeriodSeconds", "tolerations", "tty", "workingDir"),
    )
)

SPEC: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "workspaces": _EVERY_KIND,
        "trainings": _EVERY_KIND | {"completions", "parallelism"},
        "distributed": _EVERY_KIND
        | {"cleanPodPolicy", "distributedFramework", "maxReplicas", "minReplicas", "mpiLauncherCreationPolicy"}
        | {"numWorkers", "slotsPerWorker", "sshAuthMountPath"},
    }
)
"""Fields of `spec`, by the kind of the workload."""

PARTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "compute": frozenset(
            (
                *("cpuCoreLimit", "cpuCoreRequest", "cpuMemoryLimit", "cpuMemoryRequest", "extendedResources"),
                *("gpuDevicesRequest", "gpuMemoryLimit", "gpuMemoryRequest", "gpuPortionLimit", "gpuPortionRequest"),
                *("gpuRequestType", "largeShmRequest", "migProfile"),
            )
        ),
        "storage": frozenset(
            (
                *("configMapVolume", "dataVolume", "emptyDirVolume", "git", "hostPath", "nfs", "pvc", "s3"),
                "secretVolume",
            )
        ),
        "security": frozenset(
            (
                *("allowPrivilegeEscalation", "capabilities", "hostIpc", "hostNetwork", "readOnlyRootFilesystem"),
                *("runAsGid", "runAsNonRoot", "runAsUid", "seccompProfileType", "supplementalGroups", "uidGidSource"),
            )
        ),
    }
)
"""Fields of the objects in every `spec`."""

SOURCES: Final = ("value", "secret", "configMap", "podFieldRef", "userCredential")
"""Where a variable's value comes from; it has exactly one of them."""

VARIABLE: Final = frozenset(("name", "description", "exclude", *SOURCES))
"""Fields of a row of `environmentVariables`."""

CLAIM: Final = frozenset(
    (
        *("path", "claimName", "existingPvc", "readOnly", "ephemeral", "claimInfo", "name", "dataSharing", "exclude"),
        "url",
    )
)
"""Fields of a row of `storage.pvc`."""
