"""The `lepton` executor: jobs on NVIDIA DGX Cloud Lepton."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import nemo_run

from nemo_runspec.executors.cloud import CloudExecutor, common_fields
from nemo_runspec.executors.registration import register
from nemo_runspec.executors.request import SHARED_MEMORY_MIB, lepton_settings
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.env import LeptonProfile
    from nemo_runspec.platforms.lepton import LeptonSettings

SCHEDULER = "nemo_runspec_lepton"
"""The entry point of its scheduler."""


@dataclass(kw_only=True)
class LeptonExecutor(CloudExecutor, nemo_run.LeptonExecutor):  # type: ignore[misc]  # nemo-run ships no types
    """nemo-run's Lepton executor, whose tasks are one create call each.

    Source, files and launch script travel inside the job: there is no data-mover job, nothing is downloaded in the
    pod, and the workspace's credentials are those of the SDK. The fields are nemo-run's and those of `CloudExecutor`;
    `secret_vars` maps variables to the workspace's secrets.

    Args:
        existing_ray_cluster: A Ray cluster that is there, on which a `nemo_runspec.ray.RayJob` runs; empty for one of
            the job's own.
    """

    platform: ClassVar[str] = "lepton"
    volumes_field: ClassVar[str] = "mounts"

    existing_ray_cluster: str = ""

    def __post_init__(self) -> None:
        """Hold no secret, and take repositories from among the volumes."""
        self.settle()

    @property
    def home(self) -> str:
        """The folder of a volume that keeps jobs and sources."""
        return str(self.nemo_run_dir)

    @property
    def settings(self) -> LeptonSettings:
        """How Lepton is to place a task."""
        return lepton_settings(self)

    def stop_job(self, job_id: str) -> None:
        """Stop a job; the same as `cancel`."""
        self.cancel(job_id)


def create_lepton_executor(profile: LeptonProfile, *, env_vars: Mapping[str, str] | None = None) -> LeptonExecutor:
    """Build the executor of a Lepton profile.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.

    Raises:
        ProfileError: It names no image, or a secret's value that is not in the environment.
    """
    return LeptonExecutor(
        **common_fields(profile, env_vars or {}),
        nemo_run_dir=profile.nemo_run_dir,
        resource_shape=profile.resource_shape or "",
        node_group=profile.node_group or "",
        node_reservation=profile.node_reservation or "",
        shared_memory_size=profile.shared_memory_size or SHARED_MEMORY_MIB,
        mounts=thaw(profile.volumes),
        image_pull_secrets=list(profile.image_pull_secrets),
        pre_launch_commands=list(profile.pre_launch_commands),
        head_resource_shape=profile.head_resource_shape or "",
        ray_version=profile.ray_version,
        existing_ray_cluster=profile.existing_ray_cluster or "",
        can_be_preempted=bool(profile.can_be_preempted),
        can_preempt=bool(profile.can_preempt),
        queue_priority=profile.queue_priority,
    )


register(LeptonExecutor, SCHEDULER)
