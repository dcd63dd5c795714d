"""The `dgxcloud` executor: jobs on NVIDIA DGX Cloud with run:ai."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import nemo_run

from nemo_runspec.executors.cloud import CloudExecutor, common_fields
from nemo_runspec.executors.credentials import reference_for, require_reference
from nemo_runspec.executors.registration import register
from nemo_runspec.executors.request import runai_settings
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.env import DGXCloudProfile
    from nemo_runspec.platforms.runai import RunaiSettings

SCHEDULER = "nemo_runspec_dgxcloud"
"""The entry point of its scheduler."""


@dataclass(kw_only=True)
class DGXCloudExecutor(CloudExecutor, nemo_run.DGXCloudExecutor):  # type: ignore[misc]  # nemo-run ships no types
    """nemo-run's DGX Cloud executor, whose tasks are one create call each.

    Source, files and launch script travel inside the workload: there is no data-mover workload, and nothing is
    downloaded in the pod. The fields are nemo-run's, those of `CloudExecutor`, and these.

    Args:
        client_id: The run:ai application.
        client_secret: A reference to its secret, never the secret: `${oc.env:NAME}`, or `${env_toml:FILE,PROFILE}`.
        app_id: The older name of `client_id`.
        app_secret: The older name of `client_secret`.
        secret_vars: Variable -> the project's secret, as `SECRET` or `SECRET/KEY`.
        pre_launch_commands: Shell commands that each pod runs before `startup_commands`.
    """

    platform: ClassVar[str] = "dgxcloud"
    volumes_field: ClassVar[str] = "pvcs"

    client_id: str = ""
    client_secret: str = ""
    app_id: str = ""
    app_secret: str = ""
    secret_vars: dict[str, str] = field(default_factory=dict)
    pre_launch_commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the older names, and hold no secret.

        Raises:
            ProfileError: `client_secret` is a secret itself, or `env_vars` holds one that is not in the environment.
        """
        self.client_id, self.app_id = self.client_id or self.app_id, ""
        self.client_secret, self.app_secret = require_reference(self.client_secret or self.app_secret), ""
        self.settle()

    @property
    def connection(self) -> Mapping[str, str]:
        """How run:ai is reached; its secret is a reference."""
        keys = ("base_url", "kube_apiserver_url", "client_id", "project_name", "client_secret")
        return {**super().connection, **{name: getattr(self, name) for name in keys}}

    @property
    def home(self) -> str:
        """The folder of a volume that keeps jobs and sources."""
        return str(self.pvc_nemo_run_dir)

    @property
    def settings(self) -> RunaiSettings:
        """How run:ai is to place a task."""
        return runai_settings(self)


def create_dgxcloud_executor(
    profile: DGXCloudProfile, *, env_vars: Mapping[str, str] | None = None
) -> DGXCloudExecutor:
    """Build the executor of a DGX Cloud profile.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.

    Raises:
        ProfileError: It names no image, a secret's value that is not in the environment, or a client's secret that
            stands nowhere where it could be found again.
    """
    optional: dict[str, Any] = {
        "distributed_framework": profile.distributed_framework,
        "MAX_ARGS_CHARS": profile.dgxcloud_max_args_chars,
    }
    return DGXCloudExecutor(
        **common_fields(profile, env_vars or {}),
        base_url=profile.base_url,
        kube_apiserver_url=profile.kube_apiserver_url,
        client_id=profile.client_id,
        client_secret=reference_for(profile),
        project_name=profile.project_name,
        pvc_nemo_run_dir=profile.pvc_nemo_run_dir,
        pvcs=thaw(profile.volumes),
        **{name: value for name, value in optional.items() if value is not None},
    )


register(DGXCloudExecutor, SCHEDULER)
