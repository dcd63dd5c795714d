"""A job as containers of a Docker engine: what the engine is asked for, as values. Opens nothing."""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.job_folder import JOB_DIR_VARIABLE, JOB_LINK
from nemo_runspec.platforms.body import refuse
from nemo_runspec.platforms.limits import (
    BASHS,
    OURS,
    Kept,
    Limits,
    argv_problems,
    exec_size,
    kept_problems,
    mount_problems,
    value_problems,
    variable_problems,
)
from nemo_runspec.platforms.workload import NAME, JobFiles, Request, Tree, job_folder
from nemo_runspec.toml.values import empty_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME_LABEL: Final = "nemo-runspec.name"
INDEX_LABEL: Final = "nemo-runspec.index"
COUNT_LABEL: Final = "nemo-runspec.count"
FOLDER_LABEL: Final = "nemo-runspec.folder"
DIGEST_LABEL: Final = "nemo-runspec.digest"
"""A container tells its job's name, its place in it, how many there are, the job's folder, and the request's digest."""

CODE_FOLDER: Final = "code"
"""Where the source of a job is in its folder."""

LIMITS: Final = Limits(
    label="Docker",
    value_bytes=96 * 1024,
    value_cap=32 * 4096 - 1,
    argument_bytes=None,
    # A container's host name has 63 letters, and ends with its number.
    name_length=56,
    reserved_mounts=frozenset({"/", "/dev", "/proc", "/sys", JOB_LINK}),
)
"""What an engine takes; the kernel's rules for the most part."""

_KEPT: Final[Kept] = (
    *OURS,
    (
        re.compile(r"NNODES|NODE_RANK|MASTER_ADDR"),
        "tells a container its place among the others, which is found out for it, and cannot be set",
    ),
)
_SHELL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_STACK_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSpec:
    """One task of a job: containers that are alike but for their number.

    Args:
        image: Container image, which the engine has.
        nodes: Number of containers.
        argv: The command of each, word for word; the image's own entry point is not run.
        env: Variables with exact values; a value may hold `NAME`.
        mounts: Source on this machine, target in the container, and whether it is read-only.
        workdir: Working directory; the image's when None.
        user: `UID:GID` that it runs as, so that what it writes is that user's; the image's when None.
        gpus: GPUs of each container; 0 for none.
        runtime: The engine's runtime, such as `nvidia`; its default when None.
        ipc_mode: IPC namespace, such as `host`; a private one when None.
        shm_size: Size of /dev/shm, such as `30g`; the engine's default, 64 MB, when None.
        network: A network of the engine, or `host` or `none`; when None, one of the job's own where it has several
            containers, else the engine's default.
    """

    image: str
    nodes: int = 1
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=empty_table, repr=False)
    mounts: tuple[tuple[str, str, bool], ...] = ()
    workdir: str | None = None
    user: str | None = None
    gpus: int = 0
    runtime: str | None = None
    ipc_mode: str | None = None
    shm_size: str | None = None
    network: str | None = None


def request(
    *specs: DockerSpec,
    home: str,
    files: JobFiles | None = None,
    secrets: tuple[tuple[str, str], ...] = (),
    source: Tree | None = None,
) -> Request:
    """Say what the engine is asked for, in the words of its API.

    Args:
        *specs: The job's tasks, which start together; where one fails, `look` stops all.
        home: Folder on this machine that keeps jobs; the job's own is mounted on `/nemo_run`.
        files: What lies in the job's folder.
        secrets: Variables for the private file that a launch script sources.
        source: What lies in `CODE_FOLDER`.

    Raises:
        ProfileError: With everything in it that the engine or the kernel would refuse.
    """
    files = files or {}
    _check(specs, home, secrets)
    count = sum(spec.nodes for spec in specs)
    body: dict[str, Any] = {
        "home": home,
        "containers": [_container(spec, place, count, home) for spec, place in _places(specs)],
        "files": {path: hashlib.sha256(content).hexdigest() for path, (content, _) in files.items()},
    }
    if count > 1 and any(spec.network is None for spec in specs):
        body["network"] = {"Name": NAME, "Driver": "bridge", "Labels": _labels(home)}
    if source is not None:
        body["source"] = source.sha256
    return Request(
        platform="docker",
        kind="job",
        body=body,
        secret_variables=frozenset(name for name, _ in secrets),
        files=files,
        secrets=secrets,
        source=source,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a container stands: its number in the job, its number in its task, and the first of its GPUs."""

    index: int
    node: int
    first_gpu: int


def _places(specs: tuple[DockerSpec, ...]) -> Iterator[tuple[DockerSpec, _Place]]:
    index = gpu = 0
    for spec in specs:
        for node in range(spec.nodes):
            yield spec, _Place(index, node, gpu)
            index, gpu = index + 1, gpu + spec.gpus


def _container(spec: DockerSpec, place: _Place, count: int, home: str) -> dict[str, Any]:
    name = f"{NAME}-{place.index}"
    config: dict[str, Any] = {
        "Image": spec.image,
        "Entrypoint": list(spec.argv[:1]),
        "Cmd": list(spec.argv[1:]),
        "Env": [f"{key}={value}" for key, value in _environment(spec, place).items()],
        "Labels": {**_labels(home), INDEX_LABEL: str(place.index), COUNT_LABEL: str(count)},
        "HostConfig": _host_config(spec, place, home, shared=count > 1),
    }
    if spec.network != "host":  # there it is the machine's
        config["Hostname"] = name
    if spec.workdir is not None:
        config["WorkingDir"] = spec.workdir
    if spec.user is not None:
        config["User"] = spec.user
    return {"name": name, "config": config}


def _labels(home: str) -> dict[str, str]:
    return {NAME_LABEL: NAME, FOLDER_LABEL: job_folder(home)}


def _environment(spec: DockerSpec, place: _Place) -> dict[str, str]:
    """Give the variables of a container: defaults, those of the task, and its place, which nobody else knows."""
    defaults = {JOB_DIR_VARIABLE: JOB_LINK}
    if spec.user is not None and not spec.user.startswith("0:"):
        # The image does not know the user: without these its home is `/`, and its name cannot be found out.
        defaults |= {"HOME": "/tmp", "USER": "user", "LOGNAME": "user"}  # noqa: S108 - in the container
    first = "localhost" if spec.nodes == 1 or spec.network == "host" else f"{NAME}-{place.index - place.node}"
    return {**defaults, **spec.env, "NNODES": str(spec.nodes), "NODE_RANK": str(place.node), "MASTER_ADDR": first}


def _host_config(spec: DockerSpec, place: _Place, home: str, *, shared: bool) -> dict[str, Any]:
    mounts = ((job_folder(home), JOB_LINK, False), *spec.mounts)
    config: dict[str, Any] = {
        # Not `Binds`: with those the engine makes a source that is not there, as root.
        "Mounts": [
            {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
            for source, target, read_only in mounts
        ],
        # Signals reach the command, which the kernel would keep from a process with the number 1.
        "Init": True,
        # Whatever the engine's default is: logs that can be read, and of which nothing is thrown away.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1t"}},
    }
    network = spec.network or (NAME if shared else None)
    if network is not None:
        config["NetworkMode"] = network
    if spec.runtime is not None:
        config["Runtime"] = spec.runtime
    if spec.ipc_mode is not None:
        config["IpcMode"] = spec.ipc_mode
    if spec.shm_size is not None:
        config["ShmSize"] = _bytes(spec.shm_size)
    if spec.gpus:
        config["DeviceRequests"] = [_gpus(spec.gpus, place.first_gpu, shared=shared)]
        # What NVIDIA asks for: https://docs.nvidia.com/deeplearning/frameworks/user-guide/index.html
        config["Ulimits"] = [
            {"Name": "memlock", "Soft": -1, "Hard": -1},
            {"Name": "stack", "Soft": _STACK_BYTES, "Hard": _STACK_BYTES},
        ]
    return config


def _gpus(count: int, first: int, *, shared: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]]}
    if not shared:
        return {**asked, "Count": count}
    # A number alone would give all containers the same GPUs.
    return {**asked, "DeviceIDs": [str(number) for number in range(first, first + count)]}


def _bytes(size: str) -> int | None:
    found = _SIZE.fullmatch(size.strip())
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def _check(specs: tuple[DockerSpec, ...], home: str, secrets: tuple[tuple[str, str], ...]) -> None:
    problems = [] if posixpath.isabs(home) else [f"the folder for jobs '{home}' is not absolute"]
    problems += [
        f"the secret's name '{name}' is none that a shell takes"
        for name, _ in secrets
        if not _SHELL_NAME.fullmatch(name)
    ]
    for spec in specs:
        problems += _problems(spec, secrets)
    refuse(list(dict.fromkeys(problems)), LIMITS)


def _problems(spec: DockerSpec, secrets: tuple[tuple[str, str], ...]) -> Iterator[str]:
    if not spec.image:
        yield "there is no container image"
    if spec.nodes < 1:
        yield f"a job of {spec.nodes} containers cannot be"
    if spec.gpus < 0:
        yield f"{spec.gpus} GPUs in each container cannot be"
    if spec.nodes > 1 and spec.network == "none":
        yield 'containers without a network (network = "none") cannot find each other'
    if spec.shm_size is not None and not _bytes(spec.shm_size):
        yield f"shm_size is '{spec.shm_size}', which is no size such as '30g'"
    if spec.workdir is not None and not posixpath.isabs(spec.workdir):
        yield f"the working directory '{spec.workdir}' is not absolute"
    for source, _, _ in spec.mounts:
        if not posixpath.isabs(source):
            yield f"the source of the mount '{source}' is not absolute"
    yield from mount_problems((target for _, target, _ in spec.mounts), LIMITS)
    yield from argv_problems(spec.argv, LIMITS)
    values = (*spec.env.items(), *secrets)
    names = [*dict(values)]
    yield from variable_problems(names, LIMITS)
    yield from kept_problems(names, (*_KEPT, *BASHS) if spec.argv[:1] == ("bash",) else _KEPT)
    # Whatever name the job gets, its values must fit with it.
    found = value_problems(values, LIMITS)
    yield from found
    longest = "n" * LIMITS.name_length
    size = 0 if found else exec_size(spec.argv, ((name, value.replace(NAME, longest)) for name, value in values))
    if size > LIMITS.exec_bytes:
        yield (
            f"the command and its variables have {size:,} bytes together; the kernel takes {LIMITS.exec_bytes:,} "
            "in a container"
        )
