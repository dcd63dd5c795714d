"""From a job to what a Slurm cluster is sent: pure, the same for a dry-run and a submission.

Nothing of nemo-run is imported here, because a dry-run of the command line goes through it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.data_mover import JOB_LINK
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.launch_script import launch_names
from nemo_runspec.executors.source import with_source
from nemo_runspec.git_mounts import is_git_mount, parse
from nemo_runspec.paths import absolute
from nemo_runspec.platforms.slurm.job import PROFILE_FLAGS, SlurmJob, SlurmTask, sbatch_options
from nemo_runspec.platforms.slurm.request import request
from nemo_runspec.platforms.workload import job_folder
from nemo_runspec.prepare.clones import clone_folder, require_container
from nemo_runspec.prepare.squash import image_file
from nemo_runspec.toml.values import empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.executors.source import Source
    from nemo_runspec.platforms.workload import JobFiles, Request

SSH_FILES: Final = ("identity", "known_hosts")
SSH_KEYS: Final = ("host", "port", "user", *SSH_FILES, "accept_new_host_keys")
"""Keys of a profile that say how a login node is reached."""

CACHE_VARIABLE: Final = "HF_HOME"
"""Where models and datasets of Hugging Face are kept: on the cluster's file system, for all jobs."""

_NOT_IN_LABELS: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_LABEL: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """How a cluster is to run a job.

    Args:
        home: The folder that keeps jobs and sources, as all nodes see it.
        workspace: Folder for results, or its address.
        image: Container image as pyxis takes it, or None for none.
        mounts: What a container sees of the cluster, as `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`.
        nodes: Number of nodes.
        tasks_per_node: How often each of the job's tasks runs on a node.
        flags: Flags of sbatch that are keys of a profile.
        additional: Other flags of sbatch.
        srun_args: More arguments of srun.
        setup_lines: Lines of bash that run on the first node before everything else.
    """

    home: str
    workspace: str = ""
    image: str | None = None
    mounts: tuple[str, ...] = ()
    nodes: int = 1
    tasks_per_node: int = 1
    flags: Mapping[str, Any] = field(default_factory=empty_table)
    additional: Mapping[str, Any] = field(default_factory=empty_table)
    srun_args: tuple[str, ...] = ()
    setup_lines: str = ""

    @property
    def folder(self) -> str:
        """The job's folder as the job sees it."""
        return JOB_LINK if self.image else job_folder(self.home)

    @property
    def seen(self) -> tuple[str, ...]:
        """What a container sees of the cluster: the mounts, and the folders that every job needs."""
        own = [self.home, *([self.workspace] if self.workspace.startswith("/") else [])]
        targets = [mount.split(":")[1] if ":" in mount else mount for mount in self.mounts]
        covered = [folder for folder in own if not any(_is_below(folder, target) for target in targets)]
        added = [folder for folder in covered if not any(_is_below(folder, o) for o in covered if o != folder)]
        return (*self.mounts, *(f"{folder}:{folder}" for folder in dict.fromkeys(added)))


def _is_below(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(f"{other.rstrip('/')}/")


def reached(place: Any) -> dict[str, str]:  # noqa: ANN401 - a profile, or an executor of nemo-run, which ships no types
    """Give how a cluster is reached, as texts; what is not given is OpenSSH's own choice.

    Args:
        place: A `SlurmProfile` or a `SlurmExecutor`, which have the same names for it.

    Raises:
        ProfileError: The path of a file begins with the home of an unknown user.
    """
    # An executor has nemo-run's tunnel, which says nothing here.
    by_ssh = place.tunnel == "ssh" if isinstance(place.tunnel, str | None) else bool(place.host)
    if not by_ssh:
        return {"tunnel": "local"}
    given = {name: getattr(place, name) for name in SSH_KEYS if getattr(place, name)}
    files: dict[str, str] = {n: str(absolute(given[n], error=ProfileError)) for n in SSH_FILES if n in given}
    plain = {name: str(value) for name, value in given.items() if name not in (*SSH_FILES, "accept_new_host_keys")}
    accepts = {"accept_new": "true"} if given.get("accept_new_host_keys") else {}
    return {"tunnel": "ssh", **plain, **files, **accepts}


def slurm_connection(profile: SlurmProfile) -> dict[str, str]:
    """Give the connection of a profile, as `connection.shell_of` takes it.

    Raises:
        ProfileError: As `reached`.
    """
    return {"profile": profile.name, "home": profile.job_root, **reached(profile)}


def repositories(profile: SlurmProfile) -> list[str]:
    """Give the entries of a profile's `mounts` that are repositories to clone."""
    return [mount for mount in profile.mounts if isinstance(mount, str) and is_git_mount(mount)]


def mounted(repository: str, home: str) -> str:
    """Give the mount of a repository that lies on the cluster; it shows the ref where it is not pinned yet.

    Args:
        repository: As `git+URL@REF,/TARGET`.
        home: As in `SlurmSettings`.
    """
    mount = parse(repository)
    return f"{clone_folder(mount, home)}:{mount.target}"


def slurm_settings(profile: SlurmProfile, *, clones: Sequence[str] = ()) -> SlurmSettings:
    """Give the settings of a profile.

    Args:
        profile: The profile, with its values filled in.
        clones: The mounts of repositories.

    Raises:
        ConfigError: Its image is none, or a repository is to be mounted without a container.
    """
    repos = repositories(profile)
    own = [mount for mount in profile.mounts if isinstance(mount, str) and mount not in repos]
    image = profile.image_of(None)
    require_container(map(parse, repos), image)
    return SlurmSettings(
        home=profile.job_root,
        workspace=profile.workspace or "",
        image=image_file(image, profile.job_root).path if image else None,
        mounts=(*own, *clones),
        nodes=profile.nodes or 1,
        tasks_per_node=profile.ntasks_per_node or 1,
        flags={name: getattr(profile, name) for name in PROFILE_FLAGS},
        additional=dict(profile.additional_parameters),
        srun_args=tuple(profile.srun_args),
        setup_lines=profile.setup_lines or "",
    )


def task_labels(names: Iterable[str]) -> dict[str, str]:
    """Give what the files of each task are called after: its name, as far as it can be part of a file's.

    Args:
        names: The tasks' names.
    """
    labels: dict[str, str] = {}
    for number, name in enumerate(names):
        label = _NOT_IN_LABELS.sub("-", name)[:_LONGEST_LABEL].lstrip("-") or "task"
        labels[name] = f"{label}-{number}" if label in labels.values() else label
    return labels


def slurm_request(
    settings: SlurmSettings,
    launches: Mapping[str, str],
    *,
    files: JobFiles,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
    source: Source | None,
    after: Sequence[str] = (),
) -> Request:
    """Build the request of a job. Reads the source's files; opens no connection and writes nothing.

    Args:
        settings: How it runs.
        launches: Name of each of its tasks -> the text of its launch script.
        files: What else lies in its folder.
        env: Its variables.
        secrets: Its secret variables.
        source: The source that travels.
        after: Identifiers of the Slurm jobs that have to succeed first.

    Raises:
        NemotronError: Something in it would not reach the cluster as it is, or a file cannot be read.
    """
    scripts = launch_names(launches)
    labels = task_labels(launches)
    tasks = tuple(
        SlurmTask(
            name=labels[name],
            launch=scripts[name],
            nodes=settings.nodes,
            tasks_per_node=settings.tasks_per_node,
            image=settings.image,
            mounts=settings.seen if settings.image else (),
            srun_args=settings.srun_args,
        )
        for name in launches
    )
    job = SlurmJob(
        home=settings.home,
        options=sbatch_options(settings.flags, settings.additional),
        setup_lines=settings.setup_lines,
        tasks=tasks,
        folders=(settings.workspace,) if settings.workspace.startswith("/") else (),
    )
    own = {CACHE_VARIABLE: f"{settings.home}/huggingface"}
    launch_files = {scripts[name]: (text.encode(), True) for name, text in launches.items()}
    return request(
        job,
        files={**files, **launch_files},
        env=with_source({**own, **env}, settings.folder),
        secrets=secrets,
        source=source.tree() if source else None,
        after=tuple(after),
    )
