"""The profile types: for each executor, the keys that its profiles in env.toml may have.

These declarations are the only place where a key is named; checking, completion and docs/env-toml.md follow them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nemo_runspec.env.base import TEXT, Profile
from nemo_runspec.env.cloud_profiles import DGXCloudProfile, LeptonProfile
from nemo_runspec.env.slurm_rules import NO_CONTAINER, slurm_problems
from nemo_runspec.env.tables import TableField, key, table_fields
from nemo_runspec.errors import ProfileError
from nemo_runspec.paths import absolute
from nemo_runspec.toml.kinds import Either, Flag, Integer, ListOf, TableOf, Text
from nemo_runspec.toml.source import Problem
from nemo_runspec.toml.values import freeze

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProfile(Profile):
    """Jobs run on this machine, without a container."""

    executor: ClassVar[str] = "local"
    shares_files: ClassVar[bool] = True

    # Replaced by the name that torchrun users know; the common name stays as an alias.
    nprocs_per_node: None = field(default=None, init=False)
    nproc_per_node: int | None = key(
        Integer(1),
        "Training processes on this machine; without it, the configuration's number or one.",
        example="2",
        aliases=("nprocs_per_node",),
    )

    @classmethod
    def default(cls) -> Self:
        """Give the profile that is meant when none is named."""
        return cls(name="local")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerProfile(Profile):
    """Jobs run in a container of the Docker engine on this machine."""

    executor: ClassVar[str] = "docker"
    shares_files: ClassVar[bool] = True

    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(TEXT, "mounts"),
        "Folders to mount, as `source:target` or `source:target:ro`; `~` and `$VAR` in the source are expanded.",
        example='["~/.cache/huggingface:/cache/huggingface"]',
    )
    runtime: str | None = key(TEXT, "Container runtime; `nvidia` for GPUs.", example='"nvidia"')
    ipc_mode: str | None = key(TEXT, "IPC namespace; `host` for NCCL within a node.", example='"host"')
    shm_size: str | None = key(TEXT, "Size of /dev/shm.", example='"30g"')
    network: str | None = key(TEXT, "Docker network; `host` for the machine's own.", example='"host"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmProfile(Profile):
    """Jobs run on a Slurm cluster, submitted on its login node or through SSH."""

    executor: ClassVar[str] = "slurm"

    account: str | None = key(TEXT, "Account to charge.", example='"research"')
    partition: str | None = key(TEXT, "Partition, where the two below do not say otherwise.", example='"batch"')
    run_partition: str | None = key(TEXT, "Partition for attached jobs (`--run`).", example='"interactive"')
    batch_partition: str | None = key(TEXT, "Partition for detached jobs (`--batch`).", example='"batch"')
    time: str | None = key(TEXT, "Time limit, as sbatch reads it.", example='"04:00:00"')
    mem: str | None = key(TEXT, "Memory of each node; `0` means all of it.", example='"0"')
    cpus_per_task: int | None = key(Integer(1), "CPUs of each task.", example="16")
    exclusive: bool | str | None = key(
        Either((((bool,), Flag()), ((str,), TEXT))), "Whether to share no node, or sbatch's own word.", example="true"
    )
    qos: str | None = key(TEXT, "Quality of service.", example='"normal"')
    gres: str | None = key(TEXT, "Generic resources, where `gpus_per_node` does not fit.", example='"gpu:8"')
    constraint: str | None = key(TEXT, "Node features to ask for.", example='"h100"')
    setup_lines: str | None = key(TEXT, "Shell lines for the head of the sbatch script.", example='"module load cuda"')
    tunnel: str | None = key(
        Text(choices=("local", "ssh")), "`ssh` to submit through SSH; `local` on a login node.", example='"ssh"'
    )
    host: str | None = key(TEXT, 'Login node, for `tunnel = "ssh"`.', example='"login.cluster.example"')
    port: int | None = key(Integer(1, 65535), "SSH port.", example="22")
    user: str | None = key(TEXT, "User on the login node; without it, the local user's name.", example='"me"')
    identity: str | None = key(TEXT, "SSH private key file.", example='"~/.ssh/id_ed25519"')
    known_hosts: str | None = key(
        TEXT,
        "File with the login node's host key, beside the system's and `~/.ssh/known_hosts`.",
        example='"~/.ssh/known_hosts_cluster"',
    )
    accept_new_host_keys: bool | None = key(
        Flag(), "Trust the host key of a login node that is met for the first time, and remember it.", example="false"
    )
    remote_job_dir: str | None = key(
        TEXT,
        'Folder on the cluster for job files and sources; needed with `tunnel = "ssh"`, `output/slurm` otherwise.',
        example='"/lustre/me/jobs"',
    )
    additional_parameters: Mapping[str, Any] = key(
        TableOf(Either((((bool,), Flag()), ((int,), Integer(0)), ((str,), TEXT))), "sbatch flags"),
        "Any other sbatch flags, with `_` for `-`; `true` gives one without a value.",
        example='{ mail_type = "FAIL" }',
    )
    srun_args: tuple[str, ...] = key(
        ListOf(TEXT, "srun arguments"), "More arguments of srun.", example='["--mpi=pmix"]'
    )

    def image_of(self, script: str | None) -> str | None:
        """Give the container image of a job, or None for none.

        Args:
            script: The image that the script names.
        """
        image = self.container_image or script
        return None if image == NO_CONTAINER else image

    @property
    def job_root(self) -> str:
        """Give the folder for job files, as the cluster sees it."""
        if self.remote_job_dir is not None and (self.tunnel == "ssh" or self.remote_job_dir.startswith("/")):
            return self.remote_job_dir.rstrip("/") or "/"
        return str(absolute(self.remote_job_dir or "output/slurm", error=ProfileError))

    @property
    def default_workspace(self) -> tuple[str, str] | None:
        """Where results go on a cluster whose files are not this machine's, and why there."""
        return (f"{self.job_root}/workspace", "its remote_job_dir") if self.tunnel == "ssh" else None

    def conflicts(self, wrong: Container[str] = ()) -> Iterator[Problem]:
        """Yield, besides, what Slurm would not get as it is written, and what SSH needs and is not there."""
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        yield from Profile.conflicts(self, wrong)
        yield from slurm_problems(self, wrong)
        if self.tunnel != "ssh":
            return
        for name, example in (("host", "login.cluster.example"), ("remote_job_dir", "/lustre/me/jobs")):
            if getattr(self, name) is None and name not in wrong:
                message = f"profile '{self.name}': tunnel = \"ssh\" needs '{name}'"
                yield Problem(message, self.where("tunnel"), f'Add, for example: {name} = "{example}"')


_PROFILES: tuple[type[Profile], ...] = (LocalProfile, DockerProfile, SlurmProfile, LeptonProfile, DGXCloudProfile)
EXECUTORS: Mapping[str, type[Profile]] = freeze({profile.executor: profile for profile in _PROFILES})


def profile_fields(profile: type[Profile]) -> tuple[TableField, ...]:
    """Give the keys that a profile of one type may have, besides `executor` and `extends`."""
    return table_fields(profile)
