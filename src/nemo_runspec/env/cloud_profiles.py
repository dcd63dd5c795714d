"""The profile types of the two clouds, and what can be wrong with their profiles before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nemo_runspec.env.base import COMMANDS, TEXT, Profile
from nemo_runspec.env.cloud_rules import cloud_problems
from nemo_runspec.env.tables import key
from nemo_runspec.errors import ProfileError
from nemo_runspec.git_mounts import is_git_mount
from nemo_runspec.platforms.storage import NODE_LOCAL, STORAGE_KEYS, is_shared, outlives_the_pod
from nemo_runspec.toml.kinds import Either, Flag, Integer, ListOf, Record, TableOf, Text
from nemo_runspec.toml.source import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_URL = Text(pattern=re.compile(r"https?://\S+|\$\{.+\}"), noun="an http:// or https:// address")
_ABSOLUTE = Text(pattern=re.compile(r"/.*|\$\{.+\}.*"), noun="an absolute path")
_PRIORITY_REMEDY = 'Add, for example: queue_priority = "mid-4000"'
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env:\s*[A-Za-z_][A-Za-z0-9_]*\s*\}")
_IN_ENVIRONMENT = 'Export it, and write: client_secret = "${oc.env:RUNAI_CLIENT_SECRET}".'
_API_ADDRESS = re.compile(r"https?://[^/?#]+(?:/[^?#]*)?/api/v[0-9]+/?")
_SECRET_REFERENCE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?:/[A-Za-z0-9._-]+)?")
_VOLUME = Text(
    pattern=re.compile(NODE_LOCAL + r"|node-[a-z0-9-]+:.+|.*\$\{.+\}.*"),
    noun=f'"{NODE_LOCAL}" or "node-<type>:<volume>"',
)
_CLAIM = Text(
    pattern=re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?|.*\$\{.+\}.*"),
    noun="a claim's name (small letters, digits, - and ., at most 63)",
)
# run:ai's names for the kinds of distributed workloads (its public OpenAPI, DistributedFramework).
_FRAMEWORKS = ("PyTorch", "MPI", "TF", "XGBoost", "JAX")
_FRAMEWORK = Text(
    pattern=re.compile(rf"{'|'.join(_FRAMEWORKS)}|.*\$\{{.+\}}.*"), noun=f"one of {', '.join(_FRAMEWORKS)}"
)
_LEPTON_MOUNT = Record(
    {
        "path": TEXT,
        "mount_path": _ABSOLUTE,
        "from": _VOLUME,
        "mount_options": TableOf(None, "mount options"),
    },
    required={"path": 'path = "/"', "mount_path": 'mount_path = "/mnt/nfs"', "from": 'from = "node-nfs:shared"'},
)
_PVC = Record(
    {
        "path": _ABSOLUTE,
        "claimName": _CLAIM,
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
class CloudProfile(Profile):
    """What the two clouds have in common."""

    volumes_key: ClassVar[str]
    folder_key: ClassVar[str]
    job_root_key: ClassVar[str]

    workspace: str | None = key(
        TEXT,
        "Folder for outputs on one of the volumes, as pods see it, or an address. Without it, the first volume that "
        "can be written and stays.",
        example='"/mnt/nfs/nemotron"',
    )

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

    @property
    def volumes(self) -> tuple[Mapping[str, Any], ...]:
        """Give the volumes to mount, as the platform's tables."""
        return tuple(item for item in _items(getattr(self, self.volumes_key)) if isinstance(item, Mapping))

    @property
    def git_mounts(self) -> tuple[str, ...]:
        """Give the entries of `mounts` that are repositories to clone: `git+URL@REF,/TARGET`."""
        return tuple(item for item in _items(self.mounts) if isinstance(item, str) and is_git_mount(item))

    @property
    def job_root(self) -> str:
        """Give the folder for job files, as pods see it."""
        return str(getattr(self, self.job_root_key))

    @property
    def pod_workspace(self) -> str:
        """Give the folder for outputs, as pods see it: `workspace`, or the first volume that keeps what is written.

        A disk that each node has for itself comes after volumes that all nodes share.

        Raises:
            ProfileError: There is neither.
        """
        if self.workspace is not None:
            return self.workspace
        kept = [volume for volume in self.volumes if outlives_the_pod(volume)]
        if not kept:
            message = f"profile '{self.name}' has no 'workspace' and no volume that outlives a pod"
            remedy = f"Add a volume to '{self.volumes_key}', on which results are kept."
            raise ProfileError(message, where=self.where(self.volumes_key), remedy=remedy)
        shared = [volume for volume in kept if is_shared(volume)]
        return str((shared or kept)[0][self.folder_key])

    @property
    def default_workspace(self) -> tuple[str, str] | None:
        """The first volume that keeps what is written."""
        return self.pod_workspace, "its first volume"

    def conflicts(self, wrong: Container[str] = ()) -> Iterator[Problem]:
        """Yield what the platform would refuse, and what would be lost with a pod."""
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        yield from Profile.conflicts(self, wrong)
        yield from cloud_problems(self, wrong)

    def _problem(self, message: str, name: str, remedy: str | None = None) -> Problem:
        return Problem(f"profile '{self.name}': {message}", self.where(name), remedy)


def _items(value: object) -> tuple[object, ...]:
    """Give the elements of a list; a key that is wrong by itself may hold anything."""
    return value if isinstance(value, tuple) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonProfile(CloudProfile):
    """Jobs run on NVIDIA DGX Cloud Lepton."""

    executor: ClassVar[str] = "lepton"
    volumes_key: ClassVar[str] = STORAGE_KEYS["lepton"].volumes
    folder_key: ClassVar[str] = STORAGE_KEYS["lepton"].folder
    job_root_key: ClassVar[str] = STORAGE_KEYS["lepton"].home

    nemo_run_dir: str = key(
        _ABSOLUTE,
        "Folder for job files, on a mount of every node.",
        example='"/mnt/nfs/nemo_run"',
        required=True,
    )
    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(Either((((Mapping,), _LEPTON_MOUNT), ((str,), TEXT))), "tables with path, mount_path and from"),
        "Volumes to mount: `path` in the volume, `mount_path` in the container, `from` the volume. A text is a git "
        "repository that each pod clones: `${auto_mount:git+URL@REF,/TARGET}`.",
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
        COMMANDS, "Shell commands to run on each node before the launcher.", example='["nvidia-smi"]'
    )
    can_be_preempted: bool | None = key(Flag(), "Whether jobs of higher priority may take the nodes.", example="true")
    can_preempt: bool | None = key(Flag(), "Whether it may take the nodes of jobs of lower priority.", example="false")
    queue_priority: str | None = key(TEXT, "Priority class; needed with the two above.", example='"mid-4000"')

    def conflicts(self, wrong: Container[str] = ()) -> Iterator[Problem]:
        """Yield, besides, a preemption flag without the priority that it is about."""
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        yield from CloudProfile.conflicts(self, wrong)
        for name in ("can_be_preempted", "can_preempt"):
            if getattr(self, name) and self.queue_priority is None and name not in wrong:
                yield self._problem(f"{name} needs 'queue_priority'", name, _PRIORITY_REMEDY)


@dataclass(frozen=True, slots=True, kw_only=True)
class DGXCloudProfile(CloudProfile):
    """Jobs run on NVIDIA DGX Cloud with run:ai."""

    executor: ClassVar[str] = "dgxcloud"
    confidential_keys: ClassVar[frozenset[str]] = frozenset({"client_secret"})
    volumes_key: ClassVar[str] = STORAGE_KEYS["dgxcloud"].volumes
    folder_key: ClassVar[str] = STORAGE_KEYS["dgxcloud"].folder
    job_root_key: ClassVar[str] = STORAGE_KEYS["dgxcloud"].home

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
    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(TEXT, "repositories"),
        "Git repositories that each pod clones. Volumes stand in `pvcs`.",
        example='["${auto_mount:git+https://github.com/NVIDIA-NeMo/Megatron-Bridge.git@main,/opt/Megatron-Bridge}"]',
    )
    distributed_framework: str | None = key(_FRAMEWORK, "Framework of multi-node workloads.", example='"PyTorch"')
    dgxcloud_max_args_chars: int | None = key(
        Integer(1, 10_000), "Longest argument string to send; 9500 without it.", example="9500"
    )

    @property
    def client_secret_reference(self) -> str:
        """Give what may be written down in place of the client secret, and leads to it when it is used.

        It is the `${oc.env:NAME}` of the file, or `${env_toml:FILE,PROFILE}` for a secret that the file itself holds.

        Raises:
            ProfileError: The secret is neither in the environment nor in a file.
        """
        if _ENVIRONMENT.fullmatch(self.client_secret):
            return self.client_secret
        place = self.where("client_secret")
        in_file = self.source is not None and place is not None and place.path == self.source.path
        if not in_file or place is None:
            message = f"profile '{self.name}': client_secret is given as a value, and stands in no file"
            raise ProfileError(message, where=self.source, remedy=_IN_ENVIRONMENT)
        return f"${{env_toml:{Path(place.path).absolute()},{self.name}}}"

    def conflicts(self, wrong: Container[str] = ()) -> Iterator[Problem]:
        """Yield, besides, addresses and secrets' names that run:ai does not take."""
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        yield from CloudProfile.conflicts(self, wrong)
        if "base_url" not in wrong and "${" not in self.base_url and not _API_ADDRESS.fullmatch(self.base_url):
            remedy = "Write it as https://HOST/api/v1."
            yield self._problem("base_url does not end with the version of the API", "base_url", remedy)
        explanation = "is no secret of Kubernetes (SECRET or SECRET/KEY, the secret in small letters)"
        for variable, reference in self.secret_references.items() if "secrets" not in wrong else ():
            if not _SECRET_REFERENCE.fullmatch(reference) and "${" not in reference:
                yield self._problem(f"secrets.{variable} {explanation}", "secrets")
