"""The `slurm` executor: jobs on a Slurm cluster, submitted on its login node or through SSH."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

import nemo_run
from nemo_run.core.execution.launcher import FaultTolerance, Launcher, Torchrun

from nemo_runspec import git_mounts as git
from nemo_runspec.data_mover import JOB_LINK
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.connection import shell_of
from nemo_runspec.executors.journal import name_in
from nemo_runspec.executors.once import WISH
from nemo_runspec.executors.other_fields import refuse_other_fields
from nemo_runspec.executors.parts import parts_of
from nemo_runspec.executors.platform import PlatformExecutor, Task, common_fields, recorded
from nemo_runspec.executors.registration import register
from nemo_runspec.executors.slurm_request import (
    SSH_KEYS,
    SlurmSettings,
    mounted,
    reached,
    repositories,
    slurm_request,
    slurm_settings,
)
from nemo_runspec.platforms.slurm.job import PROFILE_FLAGS
from nemo_runspec.prepare.clones import clone_git_repos_via_tunnel, require_container
from nemo_runspec.prepare.squash import ensure_squashed_image, image_file, import_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.platforms.workload import Request

SCHEDULER = "nemo_runspec_slurm"
"""The entry point of its scheduler."""

_MORE_FLAGS: Final = (
    "mem_per_gpu",
    "mem_per_cpu",
    "cpus_per_gpu",
    "gpus_per_task",
    "exclude",
    "signal",
    "segment",
    "network",
)
"""Fields of nemo-run's executor that are flags of sbatch and no keys of a profile."""

_NOT_TAKEN: Final = {
    "array": "Add a task for each to the experiment.",
    "heterogeneous": "Add tasks of their own to the experiment: a group shares one allocation.",
    "memory_measure": "Ask Slurm's accounting: sacct --format=MaxRSS.",
    "retries": 'Give additional_parameters={"requeue": True}.',
    "container_env": "Write the variables into env_vars: a container has all of the job's.",
}
"""Fields of nemo-run's executor that mean nothing here -> what to do instead."""


@dataclass(kw_only=True)
class SlurmExecutor(PlatformExecutor, nemo_run.SlurmExecutor):  # type: ignore[misc]  # nemo-run ships no types
    """nemo-run's Slurm executor with a submission of its own, through the system's OpenSSH or on this machine.

    Every value reaches the job as it is, no secret is written into a script, and a job is submitted once whatever
    happens to the connection. The fields are nemo-run's, those of `PlatformExecutor`, and these; nemo-run's `tunnel`
    is not used. A group of tasks shares one allocation.

    Args:
        job_root: Folder on the cluster that keeps jobs and sources.
        host: Login node; empty to submit on this machine.
        port: Its SSH port; 0 for OpenSSH's own choice.
        user: The user there; empty for OpenSSH's own choice.
        identity: The private key's file; empty for OpenSSH's own choice.
        known_hosts: A file with the login node's key, beside the system's and the user's.
        accept_new_host_keys: Whether the key of a login node that is met for the first time is trusted.
        force_squash: Whether the container image is imported again.
        after: Slurm's numbers of jobs that have to succeed first, beside nemo-run's `dependencies`.
    """

    platform: ClassVar[str] = "slurm"
    groups_share_a_job: ClassVar[bool] = True

    account: str = ""
    time: str = ""
    job_root: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    identity: str = ""
    known_hosts: str = ""
    accept_new_host_keys: bool = False
    force_squash: bool = False
    after: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Hold no secret, and refuse what a job of this library cannot be.

        Raises:
            ProfileError: A secret is not in the environment, or a field asks for what this executor does not do.
        """
        self.settle()
        refuse_other_fields(self, _NOT_TAKEN)
        if self.dependency_type != "afterok":
            message = f"a task waits for others to succeed (afterok), not '{self.dependency_type}'"
            raise ProfileError(message, remedy='Give additional_parameters={"dependency": ...} instead.')

    @property
    def home(self) -> str:
        """The folder that keeps jobs and sources."""
        return self.job_root

    @property
    def connection(self) -> Mapping[str, str]:
        """How the cluster is reached; what is not given is OpenSSH's own choice."""
        return {**super().connection, "home": self.job_root, **reached(self)}

    @property
    def settings(self) -> SlurmSettings:
        """How the cluster is to run a job."""
        launched = isinstance(self.get_launcher(), Torchrun | FaultTolerance)
        # nemo-run's own fields are empty texts where nothing is asked for.
        flags = {name: getattr(self, name, None) or None for name in (*PROFILE_FLAGS, *_MORE_FLAGS)}
        more = {name: flags[name] for name in _MORE_FLAGS if flags[name]}
        return SlurmSettings(
            home=self.job_root,
            workspace=self.workspace,
            image=image_file(self.container_image, self.job_root).path if self.container_image else None,
            mounts=(*self.container_mounts, *(mounted(repository, self.job_root) for repository in self.git_mounts)),
            nodes=self.nodes,
            # A launcher starts the processes of its node itself.
            tasks_per_node=1 if launched else self.ntasks_per_node,
            flags=flags,
            additional={**more, **(self.additional_parameters or {})},
            srun_args=tuple(self.srun_args or ()),
            setup_lines=self.setup_lines or "",
        )

    def nnodes(self) -> int:
        """Tell how many nodes a task has."""
        return self.nodes

    def nproc_per_node(self) -> int:
        """Tell how many processes torchrun starts on a node."""
        return self.nprocs_per_node or self.torchrun_nproc_per_node or self.gpus_per_node or self.ntasks_per_node

    def path_of(self, word: str) -> str:
        """Give a word of nemo-run's own commands as the job sees it: without a container there is no `/nemo_run`."""
        own = word == JOB_LINK or word.startswith(f"{JOB_LINK}/")
        return self.settings.folder + word.removeprefix(JOB_LINK) if own else word

    def submit(self, title: str, tasks: Sequence[Task]) -> Entry:
        """Send a job, when what it needs is on the cluster: its container image and its repositories.

        Args:
            title: What the job is called.
            tasks: Its tasks.

        Raises:
            NemotronError: The job cannot be built, an image or a repository is not there, or the cluster refuses the
                job or cannot be reached.
        """
        # A copy: submitted a second time, the executor gets what its repositories' branches are then.
        prepared = copy.copy(self)
        prepared.container_mounts = [*self.container_mounts, *self._prepare()]
        prepared.git_mounts = []
        return super(SlurmExecutor, prepared).submit(title, tasks)

    def _prepare(self) -> list[str]:
        """Have the image and the repositories on the cluster, and give the mounts of the latter."""
        mounts = [git.parse(repository) for repository in self.git_mounts]
        require_container(mounts, self.container_image)
        if not (self.container_image or mounts):
            return []
        shell = shell_of(self.connection)
        if self.container_image:
            ensure_squashed_image(
                shell,
                self.container_image,
                self.job_root,
                force=self.force_squash,
                srun_options=import_options(self.settings.flags),
                say=WISH.get().say,
            )
        clones = clone_git_repos_via_tunnel(shell, mounts, self.job_root)
        return [f"{folder}:{target}" for folder, target in clones]

    def request(self, tasks: Sequence[Task]) -> Request:
        """Give the sbatch script of a job, and what travels beside it.

        Args:
            tasks: Its tasks, which share the allocation.

        Raises:
            NemotronError: A secret is not in the environment, a file cannot be read, or a value would not reach the
                cluster as it is.
        """
        parts = parts_of(self, tasks, sources_secrets=False)
        return slurm_request(
            self.settings,
            parts.launches,
            files=parts.files,
            env=parts.env,
            secrets=parts.secrets,
            source=self.source(),
            after=[*self.after, *(recorded(name_in(handle)).id for handle in self.dependencies)],
        )


def create_slurm_executor(
    profile: SlurmProfile, *, env_vars: Mapping[str, str] | None = None, launcher: str | Launcher | None = None
) -> SlurmExecutor:
    """Build the executor of a Slurm profile.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.
        launcher: nemo-run's launcher, such as `torchrun`; None for none.

    Raises:
        ProfileError: A secret's value is not in the environment.
    """
    settings = slurm_settings(profile)
    flags = {name: settings.flags[name] for name in PROFILE_FLAGS if settings.flags.get(name) is not None}
    ssh = {name: getattr(profile, name) for name in SSH_KEYS if profile.tunnel == "ssh" and getattr(profile, name)}
    fields = {**common_fields(profile, env_vars or {}), **flags, **ssh}
    return SlurmExecutor(
        **fields,
        job_root=settings.home,
        workspace=settings.workspace,
        container_image=profile.image_of(None),
        container_mounts=list(settings.mounts),
        git_mounts=repositories(profile),
        ntasks_per_node=settings.tasks_per_node,
        additional_parameters=dict(settings.additional),
        srun_args=list(settings.srun_args),
        setup_lines=settings.setup_lines or None,
        launcher=launcher,
    )


register(SlurmExecutor, SCHEDULER, keeps_dependencies=True)
