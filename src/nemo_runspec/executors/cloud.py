"""What the executors of the two clouds have in common: a task becomes one create call, which carries everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from nemo_runspec import git_mounts as git
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.launch_script import launch_script
from nemo_runspec.executors.platform import PlatformExecutor, Task
from nemo_runspec.executors.platform import common_fields as platform_fields
from nemo_runspec.executors.request import CloudJob, build_request
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nemo_runspec.env import DGXCloudProfile, LeptonProfile
    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.runai import RunaiSettings
    from nemo_runspec.platforms.workload import Request


@dataclass(kw_only=True)
class CloudExecutor(PlatformExecutor):
    """The common part of `LeptonExecutor` and `DGXCloudExecutor`.

    Args:
        pip_extras: Requirements that each pod installs first.
    """

    volumes_field: ClassVar[str]

    pip_extras: list[str] = field(default_factory=list)

    if TYPE_CHECKING:
        # nemo-run's fields, and what this library gives to the second of its executors.
        secret_vars: dict[str, str] = field(init=False)
        pre_launch_commands: list[str] = field(init=False)

    @property
    def settings(self) -> LeptonSettings | RunaiSettings:
        """How the platform is to place a task."""
        raise NotImplementedError

    @property
    def delivered(self) -> Collection[str]:
        """Names of the variables that the platform itself delivers, from a store of secrets."""
        return self.secret_vars

    def settle(self) -> None:
        """Hold no secret, because nemo-run writes executors to disk, and no repository among the volumes.

        Raises:
            ProfileError: A secret's value is not in the environment, so that it could not be found again by its
                name; or a text among the volumes is no repository.
        """
        super().settle()
        volumes = getattr(self, self.volumes_field)
        texts = [item for item in volumes if isinstance(item, str)]
        for text in texts:
            if not git.is_git_mount(text):
                message = f"'{text}' in {self.volumes_field} is neither a volume nor a repository"
                remedy = "Describe volumes as tables, and repositories as git+URL@REF,/TARGET."
                raise ProfileError(message, remedy=remedy)
        if texts:
            self.git_mounts = [*self.git_mounts, *texts]
            setattr(self, self.volumes_field, [item for item in volumes if not isinstance(item, str)])

    def request(self, tasks: Sequence[Task]) -> Request:
        """Give the one create call of a task.

        Args:
            tasks: The task.

        Raises:
            NemotronError: A secret is not in the environment, a file cannot be read, or the platform would refuse it.
        """
        (task,) = tasks
        return build_request(self.cloud_job(task.command, task.env, title=task.name))[0]

    def cloud_job(self, command: str, env: Mapping[str, str] | None = None, *, title: str = "") -> CloudJob:
        """Give the job of a task as values: what `launch` sends.

        Args:
            command: The command, quoted for a shell.
            env: The task's variables; the executor's own when not given. They win over `secrets` of the same name,
                and are secret like those.
            title: What nemo-run calls the task's files; the job's name when not given.

        Raises:
            NemotronError: A secret is not in the environment, a file cannot be read, or a repository not be asked.
        """
        plain, secret = self.variables(env)
        launcher = self.get_launcher()  # type: ignore[attr-defined]  # nemo-run's method
        mounts = [git.pin(git.parse(text)) for text in self.git_mounts]
        files = self.files_of(title)
        if mounts:
            name, content = git.job_file()
            files[name] = (content, False)
        return CloudJob(
            settings=self.settings,
            image=self.container_image or "",
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node or 0,
            retries=self.retries,
            home=self.home,
            launch=launch_script(
                command,
                pip_extras=self.pip_extras,
                pre_launch_commands=self.pre_launch_commands,
                startup_commands=self.startup_commands,
                clone_lines=git.clone_lines(mounts, self.home),
                folders=[launcher.nsys_folder] if launcher.nsys_profile else [],
            ),
            files=files,
            env=plain,
            secrets=secret,
            secret_references=self.secret_vars,
            source=self.source(),
        )


def common_fields(profile: LeptonProfile | DGXCloudProfile, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """Give the fields of an executor that a profile of either cloud fills.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.

    Raises:
        ProfileError: It names no image.
    """
    if not profile.container_image:
        message = f"profile '{profile.name}' names no container image"
        remedy = f'Add container_image = "...", or load_executor("{profile.name}", image="...").'
        raise ProfileError(message, where=profile.source, remedy=remedy)
    references = dict(profile.secret_references)
    fields = platform_fields(profile, env_vars)
    return {
        **fields,
        "workspace": profile.pod_workspace,
        "container_image": profile.container_image,
        "secrets": [name for name in fields["secrets"] if name not in references],
        "secret_vars": references,
        "git_mounts": list(profile.git_mounts),
        "pip_extras": list(profile.pip_extras),
        "custom_spec": thaw(profile.custom_spec),
    }
