"""Which key of a profile a platform's refusal is about."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.env.cloud_profiles import CloudProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.env.base import Profile
    from nemo_runspec.errors import PlatformError

# The platforms name a field of the request, or the thing itself in words; the first that fits counts.
_KEYS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "lepton": (
            (r"resource[ _]shape", "resource_shape"),
            (r"node[ _]group|\baffinity\b", "node_group"),
            (r"reservation", "node_reservation"),
            (r"image_pull_secret|registry secret", "image_pull_secrets"),
            (r"\bmounts\b|\bvolume\b", "mounts"),
            (r"\bsecret\b|secret_name_ref", "secrets"),
            (r"\benvs\b|\bvariable\b", "env_vars"),
            (r"queue_config|priority", "queue_priority"),
            (r"shared_memory_size", "shared_memory_size"),
            (r"\bcompletions\b|\bparallelism\b", "nodes"),
            (r"\bimage\b", "container_image"),
        ),
        "dgxcloud": (
            (r"no run:ai API|clusterId", "base_url"),
            (r"projectId|\bproject\b", "project_name"),
            (r"storage\.pvc|\bclaim(?:Name)?\b|\bvolume\b", "pvcs"),
            (r"distributedFramework", "distributed_framework"),
            (r"\bsecret\b", "secrets"),
            (r"environmentVariables|\bvariable\b", "env_vars"),
            (r"gpuDevicesRequest", "gpus_per_node"),
            (r"numWorkers|minReplicas|maxReplicas", "nodes"),
            (r"\bimage\b", "container_image"),
        ),
    }
)


def explain_refusal(profile: Profile, error: PlatformError) -> str | None:
    """Say which of a profile's keys a platform has refused, and where each stands.

    Args:
        profile: The profile that the job was made from.
        error: The platform's refusal, such as a `RefusedError`.

    Returns:
        A remedy in one sentence, or None where the refusal is about nothing that a profile says.
    """
    if not isinstance(profile, CloudProfile):
        return None
    named = dict.fromkeys(_key(profile, part) for part in error.message.split("; "))
    told = [_told(profile, name) for name in named if name is not None]
    return f"Correct {', '.join(told)} in profile '{profile.name}'." if told else None


def _key(profile: CloudProfile, part: str) -> str | None:
    for pattern, name in _KEYS[profile.executor]:
        if re.search(pattern, part):
            return name
    return "custom_spec" if any(re.search(rf"\b{re.escape(name)}\b", part) for name in profile.custom_spec) else None


def _told(profile: CloudProfile, name: str) -> str:
    value, origin = getattr(profile, name), profile.origins.get(name)
    shown = f'{name} = "{value}"' if isinstance(value, str) else name
    return f"{shown} ({origin.where or origin.label})" if origin else shown
