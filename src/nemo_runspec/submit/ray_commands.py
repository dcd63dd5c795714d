"""A shell command on a Ray, as a job of whatever place an executor leads to."""

from __future__ import annotations

import copy
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_run import LocalExecutor, SlurmExecutor

from nemo_runspec.config.resolvers.workspace import DEFAULT
from nemo_runspec.config.save import generate_job_dir, write_private
from nemo_runspec.data_mover import SourcePackager
from nemo_runspec.data_mover.select import select_folder
from nemo_runspec.errors import ConfigError
from nemo_runspec.executors.docker import DockerExecutor
from nemo_runspec.executors.launch_script import launch_script
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.executors.once import WISH
from nemo_runspec.executors.platform import PlatformExecutor, Task
from nemo_runspec.job_folder import LAUNCH_FILE
from nemo_runspec.paths import absolute
from nemo_runspec.place import CODE_FOLDER, ray_node
from nemo_runspec.platforms.local import JOB_FOLDER
from nemo_runspec.platforms.local import request as process
from nemo_runspec.submit.experiment import ATTACHED, start_process
from nemo_runspec.submit.ray import LEAVING, RayWork, parts_of, ray_settings, start_ray
from nemo_runspec.submit.ray_watchdog import check_token
from nemo_runspec.words import join, startup_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.platforms.workload import Request


@dataclass(frozen=True, slots=True)
class RayCommand:
    """A command that is the driver of a Ray.

    Args:
        name: What the job is called.
        command: A shell command.
        folder: Folder of this machine whose files travel, and are its working directory.
        before: Shell commands that each node runs before Ray starts.
        existing: A cluster of Lepton that is there; empty for the executor's own choice.
    """

    name: str
    command: str
    folder: Path
    before: tuple[str, ...] = ()
    existing: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How a command is sent.

    Args:
        request: Builds the request, and sends nothing.
        send: Sends it, and gives its record; how it is to be submitted says `nemo_runspec.executors.once.WISH`.
    """

    request: Callable[[], Request]
    send: Callable[[], Entry]


def sending(executor: PlatformExecutor | LocalExecutor, work: RayCommand) -> Way:
    """Tell how a command is sent to where an executor leads. The executor is not changed, and nothing is sent.

    Args:
        executor: The executor.
        work: The command.

    Raises:
        ConfigError: There is no such folder, or Docker is asked for more than one node.
        NemotronError: Something of the job cannot be built.
    """
    folder = absolute(work.folder, error=ConfigError)
    if not folder.is_dir():
        message = f"workdir is '{work.folder}', and there is no such folder"
        raise ConfigError(message, remedy="Give the folder that holds what the command runs.")
    if not isinstance(executor, PlatformExecutor):
        return _here(executor, work, folder)
    if isinstance(executor, DockerExecutor) and executor.nodes > 1:
        message = f"a Ray on Docker has one node, and the executor asks for {executor.nodes}"
        raise ConfigError(message, remedy=f'Give load_executor("{executor.profile}", nodes=1).')
    prepared = _prepared(executor, work, folder)
    if isinstance(prepared, LeptonExecutor) and (prepared.nodes > 1 or work.existing or prepared.existing_ray_cluster):
        cluster = _on_cluster(prepared, work)
        return Way(
            lambda: parts_of(cluster).request, lambda: start_ray(cluster, work.name, profile=prepared.profile)[0]
        )
    gpus = prepared.gpus_per_node or getattr(prepared, "num_gpus", None) or 0
    task = Task(work.name, join(["python", *ray_node(prepared.nodes, gpus), *_words(work)]))
    return Way(lambda: prepared.request([task]), lambda: prepared.submit(work.name, [task]))


def _words(work: RayCommand) -> tuple[str, ...]:
    return ("bash", "-c", work.command)


def _prepared(executor: PlatformExecutor, work: RayCommand, folder: Path) -> Any:  # noqa: ANN401 - a dataclass of nemo-run, which ships no types
    """Give a copy of an executor whose jobs bring the folder, in the place of what its packager would."""
    given = executor.packager if isinstance(executor.packager, SourcePackager) else SourcePackager()
    # Packages travel as the source does everywhere, by content and before everything else that Python looks through.
    has_source = (folder / "src").is_dir()
    files = select_folder(folder, given.exclude)
    beside = [file for file in files if not (has_source and file.name.startswith("src/"))]
    prepared = copy.copy(executor)
    prepared.packager = SourcePackager(
        repo_root=str(folder) if has_source else given.repo_root,
        exclude=list(given.exclude),
        files={**given.files, **{f"{CODE_FOLDER}/{file.name}": str(file.path) for file in beside}},
    )
    prepared.startup_commands = [*executor.startup_commands, *work.before]
    if isinstance(prepared, SlurmExecutor):
        prepared.ntasks_per_node = 1  # a node of Ray has all of the node
    return prepared


def _on_cluster(executor: Any, work: RayCommand) -> RayWork:  # noqa: ANN401 - as above
    ray = ray_settings(executor, existing=work.existing)
    # What each node runs first is all that a job's script runs before its command.
    whole = executor.cloud_job("true", title=work.name)
    if ray.existing is None and WISH.get().leaves:
        check_token(whole.secret_references, LEAVING, executor.profile)
    first = (executor.git_mounts, executor.pip_extras, executor.pre_launch_commands, executor.startup_commands)
    return RayWork(replace(whole, launch=launch_script(join(_words(work)))), ray, whole.launch if any(first) else "")


def _here(executor: LocalExecutor, work: RayCommand, folder: Path) -> Way:
    gpus = len([*Path("/dev").glob("nvidia[0-9]*")])
    command = join([sys.executable, *ray_node(1, gpus), *_words(work)])
    lines = ["#!/usr/bin/env bash", "set -e", f"cd {shlex.quote(str(folder))}", *startup_lines(work.before)]
    script = "\n".join([*lines, f"exec {command}", ""])

    def request(job_dir: Path) -> Request:
        argv = ["bash", str(ATTACHED), JOB_FOLDER]
        return process(argv, job_dir, env=dict(executor.env_vars), what={"launch": script})

    def send() -> Entry:
        job_dir = generate_job_dir(work.name, absolute(DEFAULT, error=ConfigError))
        job_dir.mkdir(mode=0o700, parents=True)
        write_private(job_dir / LAUNCH_FILE, script)
        return start_process(request(job_dir), work.name, job_dir)

    return Way(lambda: request(folder), send)
