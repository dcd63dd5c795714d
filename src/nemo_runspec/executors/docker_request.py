"""From a job to the containers of a Docker engine: pure, the same for a dry-run and a submission.

Nothing of nemo-run is imported here, because a dry-run of the command line goes through it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover import JOB_LINK
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.launch_script import launch_names
from nemo_runspec.executors.source import with_source
from nemo_runspec.paths import absolute
from nemo_runspec.platforms.docker.request import DockerSpec, request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.env import DockerProfile
    from nemo_runspec.executors.source import Source
    from nemo_runspec.platforms.workload import JobFiles, Request

_VARIABLE: Final = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)\}|(?P<plain>[A-Za-z_]\w*))")
_PARTS: Final = (2, 3)
_MASTER_PORT: Final = "29500"
"""Each container of a job has a network namespace of its own."""

Mount = tuple[str, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """How an engine is to run a job.

    Args:
        home: Folder of this machine that keeps jobs.
        image: Container image.
        nodes: Number of containers.
        gpus: GPUs of each.
        mounts: Source, target, and whether it is read-only.
        runtime: The engine's runtime.
        ipc_mode: IPC namespace.
        shm_size: Size of /dev/shm.
        network: Docker network.
    """

    home: str
    image: str
    nodes: int = 1
    gpus: int = 0
    mounts: tuple[Mount, ...] = ()
    runtime: str | None = None
    ipc_mode: str | None = None
    shm_size: str | None = None
    network: str | None = None


def jobs_home() -> str:
    """Give the folder of this machine that keeps the folders of Docker jobs: it is beside nemo-run's own."""
    home = os.environ.get("NEMORUN_HOME") or "~/.nemo_run"
    return str(absolute(home, error=ProfileError) / "nemo_runspec" / "docker")


def docker_settings(profile: DockerProfile, *, image: str) -> DockerSettings:
    """Give the settings of a profile.

    Args:
        profile: The profile, with its values filled in.
        image: The container image.

    Raises:
        ProfileError: A mount is none, or holds a variable that is not set.
    """
    return DockerSettings(
        home=jobs_home(),
        image=image,
        nodes=profile.nodes or 1,
        gpus=profile.gpus_per_node or 0,
        mounts=tuple(mount_of(text, profile) for text in profile.mounts if isinstance(text, str)),
        runtime=profile.runtime,
        ipc_mode=profile.ipc_mode,
        shm_size=profile.shm_size,
        network=profile.network,
    )


def mount_of(text: str, profile: DockerProfile | None = None) -> Mount:
    """Read `SOURCE:TARGET` or `SOURCE:TARGET:ro`, whose source may begin with `~` and hold `$NAME`.

    Args:
        text: What was written.
        profile: Where, for messages.

    Raises:
        ProfileError: It is none, or a variable in it is not set.
    """
    where = profile.where("mounts") if profile else None
    name = f"profile '{profile.name}': " if profile else ""

    def value(found: re.Match[str]) -> str:
        variable = found["braced"] or found["plain"]
        if variable not in os.environ:
            message = f"{name}the mount '{text}' names the variable {variable}, which is not set"
            raise ProfileError(message, where=where, remedy=f"Export {variable}, or write the folder's path.")
        return os.environ[variable]

    parts = _VARIABLE.sub(value, text).split(":")
    if len(parts) not in _PARTS or not all(parts) or parts[2:] not in ([], ["ro"], ["rw"]):
        message = f"{name}'{text}' is no mount"
        raise ProfileError(message, where=where, remedy="Write SOURCE:TARGET, or SOURCE:TARGET:ro.")
    return str(absolute(parts[0], error=ProfileError)), parts[1], parts[2:] == ["ro"]


def workspace_mounts(workspace: str, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Give the mount of a folder for results, unless it is seen already: its path is the same on both sides."""
    folder = Path(workspace)
    seen = any(folder.is_relative_to(target) for _, target, _ in mounts)
    return () if seen or not workspace.startswith("/") else ((workspace, workspace, False),)


def docker_request(
    settings: DockerSettings,
    launches: Mapping[str, str],
    *,
    files: JobFiles,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
    source: Source | None,
) -> Request:
    """Build the request of a job. Reads the source's files; asks the engine nothing and writes nothing.

    Args:
        settings: How it runs.
        launches: Name of each of its tasks -> the text of its launch script.
        files: What else lies in its folder.
        env: Its variables.
        secrets: Its secret variables.
        source: The source that travels.

    Raises:
        NemotronError: The engine or the kernel would refuse it, or a file cannot be read.
    """
    scripts = launch_names(launches)
    port = {"MASTER_PORT": _MASTER_PORT} if settings.nodes > 1 else {}
    mounts = (*settings.mounts, *workspace_mounts(env.get("NEMO_RUN_DIR", ""), settings.mounts))
    specs = [
        DockerSpec(
            image=settings.image,
            nodes=settings.nodes,
            argv=("bash", f"{JOB_LINK}/{scripts[name]}"),
            env=with_source({**port, **env}, JOB_LINK),
            mounts=mounts,
            user=f"{os.getuid()}:{os.getgid()}",
            gpus=settings.gpus,
            runtime=settings.runtime,
            ipc_mode=settings.ipc_mode,
            shm_size=settings.shm_size,
            network=settings.network,
        )
        for name in launches
    ]
    launch_files = {scripts[name]: (text.encode(), True) for name, text in launches.items()}
    return request(
        *specs,
        home=settings.home,
        files={**files, **launch_files},
        secrets=tuple(sorted(secrets.items())),
        source=source.tree() if source else None,
    )
