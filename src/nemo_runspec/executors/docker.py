"""The `docker` executor: jobs in containers of the Docker engine on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import nemo_run

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.docker_request import DockerSettings, docker_request, docker_settings, mount_of
from nemo_runspec.executors.other_fields import refuse_other_fields
from nemo_runspec.executors.parts import parts_of
from nemo_runspec.executors.platform import PlatformExecutor, Task, common_fields
from nemo_runspec.executors.registration import register

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemo_runspec.env import DockerProfile
    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.platforms.workload import Request

SCHEDULER = "nemo_runspec_docker"
"""The entry point of its scheduler."""

_NOT_TAKEN: Final = {
    "privileged": "Give the job what it needs as mounts and a runtime.",
    "ulimits": "Set them for all containers: default-ulimits in the engine's daemon.json.",
    "healthcheck": "Let the program itself end with an exit code.",
    "additional_kwargs": "Use the fields of the executor.",
    "retries": "Submit the task again.",
}
"""Fields of nemo-run's executor that mean nothing here -> what to do instead."""


@dataclass(kw_only=True)
class DockerExecutor(PlatformExecutor, nemo_run.DockerExecutor):  # type: ignore[misc]  # nemo-run ships no types
    """nemo-run's Docker executor, whose jobs outlive the client, and whose arguments reach the program as they are.

    The fields are nemo-run's, those of `PlatformExecutor`, and these. A group of tasks is one job: where one container
    fails, the job has failed, and whoever looks at it next has the others stopped.

    Args:
        job_root: Folder of this machine that keeps the folders of jobs.
        nodes: Number of containers of each task, each a node of its own.
    """

    platform: ClassVar[str] = "docker"
    groups_share_a_job: ClassVar[bool] = True

    job_root: str = ""
    nodes: int = 1
    gpus_per_node: int = 0
    network: str | None = None

    def __post_init__(self) -> None:
        """Hold no secret, and refuse what a job of this library cannot be.

        Raises:
            ProfileError: A secret is not in the environment, or a field asks for what this executor does not do.
        """
        self.settle()
        refuse_other_fields(self, _NOT_TAKEN)

    @property
    def home(self) -> str:
        """The folder that keeps jobs."""
        return self.job_root

    @property
    def connection(self) -> Mapping[str, str]:
        """How the engine is reached: as the environment says."""
        return {**super().connection, "home": self.job_root}

    def nnodes(self) -> int:
        """Tell how many containers a task has."""
        return self.nodes

    @property
    def settings(self) -> DockerSettings:
        """How the engine is to run a job."""
        return DockerSettings(
            home=self.job_root,
            image=self.container_image or "",
            nodes=self.nodes,
            gpus=self.gpus_per_node or self.num_gpus or 0,
            mounts=tuple(mount_of(text) for text in self.volumes),
            runtime=self.runtime,
            ipc_mode=self.ipc_mode,
            shm_size=self.shm_size,
            network=self.network,
        )

    def submit(self, title: str, tasks: Sequence[Task]) -> Entry:
        """Start a job, when the folder for its results is there: the engine mounts none that is missing.

        Args:
            title: What the job is called.
            tasks: Its tasks.

        Raises:
            NemotronError: The job cannot be built, or the engine refuses it or cannot be reached.
        """
        if self.workspace.startswith("/"):
            Path(self.workspace).mkdir(parents=True, exist_ok=True)
        return super().submit(title, tasks)

    def request(self, tasks: Sequence[Task]) -> Request:
        """Give the containers of a job.

        Args:
            tasks: Its tasks, each a number of containers.

        Raises:
            NemotronError: A secret is not in the environment, a file cannot be read, or the engine would refuse it.
        """
        parts = parts_of(self, tasks, sources_secrets=True)
        return docker_request(
            self.settings,
            parts.launches,
            files=parts.files,
            env=parts.env,
            secrets=parts.secrets,
            source=self.source(),
        )


def create_docker_executor(profile: DockerProfile, *, env_vars: Mapping[str, str] | None = None) -> DockerExecutor:
    """Build the executor of a Docker profile.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.

    Raises:
        ProfileError: It names no image, a mount is none, or a secret's value is not in the environment.
    """
    if not profile.container_image:
        message = f"profile '{profile.name}' names no container image"
        remedy = f'Add container_image = "...", or load_executor("{profile.name}", image="...").'
        raise ProfileError(message, where=profile.source, remedy=remedy)
    settings = docker_settings(profile, image=profile.container_image)
    return DockerExecutor(
        **common_fields(profile, env_vars or {}),
        container_image=settings.image,
        job_root=settings.home,
        volumes=[text for text in profile.mounts if isinstance(text, str)],
        runtime=settings.runtime,
        ipc_mode=settings.ipc_mode,
        shm_size=settings.shm_size,
        network=settings.network,
        workspace=profile.workspace or "",
    )


register(DockerExecutor, SCHEDULER)
