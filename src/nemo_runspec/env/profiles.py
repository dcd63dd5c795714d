"""The profile types: for each executor, the keys that its profiles in env.toml may have.

These declarations are the only place where a key is named; checking, completion and docs/env-toml.md follow them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nemo_runspec.env.tables import Entry, Origin, Table, TableField, key, known_keys, read_entries, table_fields
from nemo_runspec.errors import ProfileError, guess
from nemo_runspec.toml.kinds import NOT_A_VALUE, VARIABLE_NAME, Either, Flag, Integer, ListOf, Record, TableOf, Text
from nemo_runspec.toml.source import Problem, raise_problems
from nemo_runspec.toml.values import freeze

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.errors import Location

TEXT = Text()
_COMMANDS = ListOf(TEXT, "shell commands")
_VARIABLES = TableOf(Text(may_be_empty=True), "strings", VARIABLE_NAME)
_SECRET_VARIABLE = re.compile(NOT_A_VALUE + VARIABLE_NAME.pattern)
_SECRET_LIST = ListOf(Text(pattern=_SECRET_VARIABLE, noun="a variable's name", confidential=True), "variables' names")
_PLATFORM_SECRET = Text(pattern=re.compile(NOT_A_VALUE + r".+"), noun="a secret's name", confidential=True)
_SECRET_TABLE = TableOf(_PLATFORM_SECRET, "secrets' names", _SECRET_VARIABLE, confidential=True)
_SECRETS = Either((((list, tuple), _SECRET_LIST), ((Mapping,), _SECRET_TABLE)))
_URL = Text(pattern=re.compile(r"https?://\S+|\$\{.+\}"), noun="an http:// or https:// address")
_ABSOLUTE = Text(pattern=re.compile(r"/.*|\$\{.+\}.*"), noun="an absolute path")
_LEPTON_MOUNT = Record(
    {
        "path": TEXT,
        "mount_path": _ABSOLUTE,
        "from": TEXT,
        "mount_options": TableOf(None, "mount options"),
    },
    required={"path": 'path = "/"', "mount_path": 'mount_path = "/mnt/nfs"', "from": 'from = "node-nfs:shared"'},
)
_PVC = Record(
    {
        "path": _ABSOLUTE,
        "claimName": TEXT,
        "existingPvc": Flag(),
        "readOnly": Flag(),
        "ephemeral": Flag(),
        "claimInfo": TableOf(None, "run:ai's own fields"),
        "name": TEXT,
    },
    # Without a claim's name the platform makes a new volume for every workload, and results are lost with it.
    required={"path": 'path = "/mnt/workspace"', "claimName": 'claimName = "team-workspace"'},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Table):
    """What every executor's profile has.

    Args:
        parents: The profiles that it extends, nearest first.
    """

    executor: ClassVar[str]

    parents: tuple[str, ...] = ()
    container_image: str | None = key(
        TEXT,
        "Container image (on Slurm also a path to a .sqsh file), instead of the one that the script names.",
        example='"nvcr.io/nvidia/nemo:25.11.nemotron_3_nano"',
        aliases=("container",),
    )
    nodes: int | None = key(Integer(1), "Number of nodes, instead of the script's.", example="2")
    gpus_per_node: int | None = key(
        Integer(0),
        "GPUs on each node. 0 means none; leaving it out leaves it to the script's `resources`.",
        example="8",
    )
    nprocs_per_node: int | None = key(
        Integer(1),
        "Training processes on each node; without it, one for each GPU.",
        example="8",
        aliases=("nproc_per_node",),
    )
    ntasks_per_node: int | None = key(Integer(1), "Tasks that the platform starts on each node.", example="1")
    env_vars: Mapping[str, str] = key(
        _VARIABLES, "Environment variables of the job, with their values.", example='{ NCCL_DEBUG = "WARN" }'
    )
    secrets: tuple[str, ...] | Mapping[str, str] = key(
        _SECRETS,
        "Secret environment variables: names whose values are taken from the environment of the one who submits, "
        "or a table from name to the platform's own secret. Values never stand in this file.",
        example='["HF_TOKEN", "WANDB_API_KEY"]',
    )
    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(TEXT, "mounts"),
        "Folders to mount, as `source:target` or `source:target:ro`.",
        example='["/lustre/data:/data:ro"]',
    )
    startup_commands: tuple[str, ...] = key(
        _COMMANDS, "Shell commands to run in the job before the script starts.", example='["ulimit -n 65536"]'
    )
    repo_root: str | None = key(
        TEXT, "Checkout whose `src/` travels with the job; without it, the installed package's.", example='"~/nemotron"'
    )
    workspace: str | None = key(
        TEXT,
        "Folder for outputs, as the job sees it; configurations call it `${workspace:}`. Without it, `output` here.",
        example='"/lustre/me/nemotron"',
    )

    @classmethod
    def noun(cls) -> str:
        """Name this kind of profile for messages."""
        return f"a {cls.executor} profile"

    @classmethod
    def explain_unknown(cls, name: str) -> str:
        """Give the remedy for a key that this kind of profile does not have; it may be another executor's."""
        others = [profile.executor for profile in _PROFILES if name in known_keys(profile)]
        if others:
            return f"It is a key of {' and '.join(others)} profiles."
        return guess(name, known_keys(cls), what="keys")

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Give the names of the secret variables, however they are delivered."""
        return tuple(self.secrets)

    @property
    def secret_references(self) -> Mapping[str, str]:
        """Give the platform's own secret for each variable, where `secrets` is a table."""
        return self.secrets if isinstance(self.secrets, Mapping) else {}

    @property
    def processes_per_node(self) -> int:
        """Tell how many processes torchrun starts on a node.

        `nproc_per_node` or `nprocs_per_node` where set, else one process for each of `gpus_per_node`, else one.
        """
        names = ("nproc_per_node", "nprocs_per_node", "gpus_per_node")
        return next((int(value) for name in names if (value := getattr(self, name, None))), 1)

    def as_config(self) -> dict[str, Any]:
        """Give the executor and the keys that are set, as plain values, to merge over a configuration's `run.env`."""
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        return {"executor": self.executor, **Table.as_config(self)}

    def with_overrides(self, values: Mapping[str, object], origin: Origin) -> Self:
        """Give this profile with values that win over its own, such as `run.env.nodes=4` of the command line.

        Args:
            values: From key (or alias) to plain value; `executor` may be among them and cannot be another one.
            origin: Where they come from.

        Raises:
            ProfileError: A key is unknown, a value is mistyped, or the values do not fit together.
        """
        entries = (Entry(value, origin, name) for name, value in values.items() if name != "executor")
        found, problems = read_entries(type(self), entries)
        other = values.get("executor", self.executor)
        if other != self.executor:
            message = f"[{origin.label}] profile '{self.name}' is for executor '{self.executor}', not '{other}'"
            problems.append(Problem(message, origin.where, f"Choose a profile whose executor is '{other}'."))
        raise_problems(problems, ProfileError, summary=f"profile '{self.name}'")
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        origins = {**self.origins, **{name: entry.origin for name, entry in found.items()}}
        given = {name: freeze(entry.value) for name, entry in found.items()}
        combined = type(self)(**{**own, **given, "origins": freeze(origins)})
        raise_problems(combined.conflicts(), ProfileError, summary=f"profile '{self.name}'")
        return combined

    def conflicts(self) -> Iterator[Problem]:
        """Yield what is wrong between keys that are each right by themselves."""
        yield from ()

    def where(self, name: str) -> Location | None:
        """Give the place of a key that is set, or of the profile."""
        origin = self.origins.get(name)
        return origin.where if origin else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProfile(Profile):
    """Jobs run on this machine, without a container."""

    executor: ClassVar[str] = "local"

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
    remote_job_dir: str | None = key(
        TEXT, 'Folder on the cluster for job files; needed with `tunnel = "ssh"`.', example='"/lustre/me/jobs"'
    )
    additional_parameters: Mapping[str, Any] = key(
        TableOf(Either((((bool,), Flag()), ((int,), Integer(0)), ((str,), TEXT))), "sbatch flags"),
        "Any other sbatch flags, with `_` for `-`.",
        example='{ mail_type = "FAIL" }',
    )
    srun_args: tuple[str, ...] = key(
        ListOf(TEXT, "srun arguments"), "More arguments of srun.", example='["--mpi=pmix"]'
    )

    def conflicts(self) -> Iterator[Problem]:
        """Yield what SSH needs and is not there."""
        if self.tunnel != "ssh":
            return
        for name, example in (("host", "login.cluster.example"), ("remote_job_dir", "/lustre/me/jobs")):
            if getattr(self, name) is None:
                message = f"profile '{self.name}': tunnel = \"ssh\" needs '{name}'"
                yield Problem(message, self.where("tunnel"), f'Add, for example: {name} = "{example}"')


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudProfile(Profile):
    """What the two clouds have in common."""

    custom_spec: Mapping[str, Any] = key(
        TableOf(None, "the platform's own fields"), "More fields of the job's specification.", example="{}"
    )
    pip_extras: tuple[str, ...] = key(
        ListOf(TEXT, "requirements"), "Packages to install in the container first.", example='["omegaconf>=2.3"]'
    )
    run_command: str | None = key(
        TEXT,
        "Command that starts the script, instead of the script's own.",
        example='"python {script} --config {config}"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonProfile(CloudProfile):
    """Jobs run on NVIDIA DGX Cloud Lepton."""

    executor: ClassVar[str] = "lepton"

    nemo_run_dir: str = key(
        _ABSOLUTE,
        "Folder for job files, on a mount of every node.",
        example='"/mnt/nfs/nemo_run"',
        required=True,
    )
    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(Either((((Mapping,), _LEPTON_MOUNT), ((str,), TEXT))), "tables with path, mount_path and from"),
        "Volumes to mount: `path` in the volume, `mount_path` in the container, `from` the volume.",
        example='[{ path = "/", mount_path = "/mnt/nfs", from = "node-nfs:shared" }]',
    )
    resource_shape: str | None = key(TEXT, "Machine shape of each node.", example='"gpu.8xh100-sxm"')
    node_group: str | None = key(TEXT, "Dedicated node group.", example='"my-node-group"')
    node_reservation: str | None = key(TEXT, "Reservation within the node group.", example='"my-reservation"')
    shared_memory_size: int | None = key(Integer(1), "Size of /dev/shm in MiB.", example="65536")
    image_pull_secrets: tuple[str, ...] = key(
        ListOf(TEXT, "secrets' names"), "The workspace's registry secrets for the image.", example='["my-registry"]'
    )
    ray_version: str | None = key(TEXT, 'Ray version in the image, for `launch = "ray"`.', example='"2.49.2"')
    head_resource_shape: str | None = key(TEXT, "Machine shape of the Ray head.", example='"cpu.large"')
    existing_ray_cluster: str | None = key(
        TEXT, "Running Ray cluster to use, instead of a new one.", example='"my-ray"'
    )
    pre_launch_commands: tuple[str, ...] = key(
        _COMMANDS, "Shell commands to run on each node before the launcher.", example='["nvidia-smi"]'
    )
    can_be_preempted: bool | None = key(Flag(), "Whether jobs of higher priority may take the nodes.", example="true")
    can_preempt: bool | None = key(Flag(), "Whether it may take the nodes of jobs of lower priority.", example="false")
    queue_priority: str | None = key(TEXT, "Priority class; needed with the two above.", example='"mid-4000"')

    def conflicts(self) -> Iterator[Problem]:
        """Yield a preemption flag without the priority that it is about."""
        for name in ("can_be_preempted", "can_preempt"):
            if getattr(self, name) and self.queue_priority is None:
                message = f"profile '{self.name}': {name} needs 'queue_priority'"
                yield Problem(message, self.where(name), 'Add, for example: queue_priority = "mid-4000"')


@dataclass(frozen=True, slots=True, kw_only=True)
class DGXCloudProfile(CloudProfile):
    """Jobs run on NVIDIA DGX Cloud with run:ai."""

    executor: ClassVar[str] = "dgxcloud"

    base_url: str = key(
        _URL, "Address of the run:ai API, with /api/v1.", example='"https://team.example/api/v1"', required=True
    )
    kube_apiserver_url: str = key(
        _URL, "Address of the cluster's Kubernetes API.", example='"https://kube.example"', required=True
    )
    client_id: str = key(
        TEXT, "Client id of the run:ai application.", example='"nemotron"', required=True, aliases=("app_id",)
    )
    client_secret: str = key(
        TEXT,
        "Its secret; name an environment variable rather than writing it down.",
        example='"${oc.env:RUNAI_CLIENT_SECRET}"',
        required=True,
        aliases=("app_secret",),
    )
    project_name: str = key(TEXT, "run:ai project.", example='"my-project"', required=True)
    pvc_nemo_run_dir: str = key(
        _ABSOLUTE, "Folder for job files, on one of `pvcs`.", example='"/mnt/workspace/nemo_run"', required=True
    )
    pvcs: tuple[Mapping[str, Any], ...] = key(
        ListOf(_PVC, "tables with path and claimName"),
        "Persistent volume claims to mount; `existingPvc = true` for one that is there already.",
        example='[{ path = "/mnt/workspace", claimName = "team-workspace", existingPvc = true }]',
    )
    distributed_framework: str | None = key(TEXT, "Framework of multi-node workloads.", example='"PyTorch"')
    dgxcloud_max_args_chars: int | None = key(
        Integer(1, 10_000), "Longest argument string to send; 9500 without it.", example="9500"
    )

    def conflicts(self) -> Iterator[Problem]:
        """Yield a job folder that is on none of the volumes."""
        paths = [str(pvc["path"]).rstrip("/") for pvc in self.pvcs]
        if paths and not any(f"{self.pvc_nemo_run_dir}/".startswith(f"{path}/") for path in paths):
            message = f"profile '{self.name}': pvc_nemo_run_dir is on none of the pvcs ({', '.join(paths)})"
            yield Problem(message, self.where("pvc_nemo_run_dir"), "Choose a folder below the path of one of them.")


_PROFILES: tuple[type[Profile], ...] = (LocalProfile, DockerProfile, SlurmProfile, LeptonProfile, DGXCloudProfile)
EXECUTORS: Mapping[str, type[Profile]] = freeze({profile.executor: profile for profile in _PROFILES})


def profile_fields(profile: type[Profile]) -> tuple[TableField, ...]:
    """Give the keys that a profile of one type may have, besides `executor` and `extends`."""
    return table_fields(profile)
