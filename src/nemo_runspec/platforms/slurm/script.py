"""The text that sbatch is given: what one job is, while what every job does stands in `remote/batch.sh`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import ProfileError
from nemo_runspec.job_folder import JOB_LINK
from nemo_runspec.platforms.slurm.job import LOG_FOLDER
from nemo_runspec.platforms.slurm.values import (
    argument_problems,
    home_problems,
    line_problem,
    log_path,
    mount_argument,
    mount_problem,
    option_problems,
    quoted_words,
    sbatch_line,
    setup_problem,
    task_name_problem,
)
from nemo_runspec.platforms.workload import NAME
from nemo_runspec.toml.source import Problem, raise_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask

BATCH_SCRIPT: Final = "batch.sh"
"""What every job does on its first node, beside the text given here."""

TASK_SCRIPT: Final = "task.sh"
"""What every task of a job does."""

_SOURCED: Final = '. "$nemo_job/batch.sh" || exit'
_ATTEMPT: Final = '"$nemo_attempt"'


def sbatch_text(job: SlurmJob, *, has_secrets: bool = False) -> str:
    """Give the script of a job, with `NAME` where its unique name belongs.

    Args:
        job: The job.
        has_secrets: Whether a file with secret variables belongs to it.

    Raises:
        ProfileError: Some value cannot arrive as it is written; all that is wrong is told at once.
    """
    raise_problems((Problem(message) for message in job_problems(job)), ProfileError, summary="this job for Slurm")
    lines = ["#!/bin/bash", *(sbatch_line(flag, value) for flag, value in _flags(job)), ""]
    lines += [
        f"# {BATCH_SCRIPT} has what every job does; here is what this one is.",
        f"nemo_job={shlex.quote(job.folder)}",
    ]
    lines += ["nemo_secrets=yes"] if has_secrets else []
    lines += [_SOURCED, *(f"mkdir -p -- {shlex.quote(folder)} || exit" for folder in job.folders), ""]
    if job.setup_lines.strip():
        lines += ["# setup_lines of the profile", job.setup_lines.rstrip("\n"), ""]
    for task in job.tasks:
        command = " \\\n    ".join(_command(job, task))
        lines += [f"nemo_start {shlex.quote(job.label(task))} {task.nodes} {command}"]
    return "\n".join([*lines, "nemo_finish", ""])


def job_problems(job: SlurmJob) -> Iterator[str]:
    """Yield what is wrong with a job's values, in the words of a profile's keys."""
    yield from (f"the job folder {told}" for told in home_problems(job.home, mounted=job.in_container))
    for folder in job.folders:
        yield from (f"the folder {folder!r} {told}" for told in home_problems(folder, mounted=job.in_container))
    yield from (f"the sbatch flag '--{flag}' {told}" for flag, told in option_problems(job.options))
    told = setup_problem(job.setup_lines)
    if told is not None:
        yield f"setup_lines {told}"
    names = [task.name for task in job.tasks]
    if not names or len(set(names)) < len(names):
        yield "a job needs tasks, each with a name of its own"
    for task in job.tasks:
        yield from _task_problems(task)


def _task_problems(task: SlurmTask) -> Iterator[str]:
    named = task_name_problem(task.name)
    if named is not None:
        yield named
    for what, text in (("container_image", task.image), ("the container's folder", task.workdir)):
        wrong = line_problem(text) if text is not None else None
        if wrong is not None:
            yield f"{what} {wrong}"
    for mount in task.mounts:
        wrong = mount_problem(mount)
        if wrong is not None:
            yield f"mounts: {wrong}"
    if task.mounts and task.image is None:
        yield "mounts need a container, and there is no container_image"
    yield from (f"srun_args: {told}" for told in argument_problems(task.srun_args))


def _flags(job: SlurmJob) -> Iterator[tuple[str, str | int | bool]]:
    given = {flag for flag, _ in job.options}
    yield "job-name", NAME
    if "comment" not in given:
        yield "comment", NAME
    yield "output", f"{log_path(job.folder)}/{LOG_FOLDER}/batch.0.log"
    yield "open-mode", "append"
    # Where it is submitted from may be a folder that only that machine has.
    if "chdir" not in given:
        yield "chdir", job.folder
    yield "nodes", job.nodes
    yield "ntasks-per-node", job.tasks_per_node
    if not given & {"requeue", "no-requeue"}:
        yield "requeue", True
    # Of a job that waits for another one, Slurm itself sees first that this cannot succeed any more.
    if "kill-on-invalid-dep" not in given:
        yield "kill-on-invalid-dep", "yes"
    yield from job.options


def _command(job: SlurmJob, task: SlurmTask) -> Iterator[str]:
    """Yield the lines of a task's srun; the last word is the launch script, and batch.sh adds the rest."""
    place = JOB_LINK if task.image else job.folder
    tasks = task.nodes * task.tasks_per_node
    words = [f"--nodes={task.nodes}", f"--ntasks={tasks}", f"--ntasks-per-node={task.tasks_per_node}"]
    # Since Slurm 22.05 srun does not take it from the job.
    words += [f"--cpus-per-task={value}" for flag, value in job.options if flag == "cpus-per-task"]
    if len(job.tasks) > 1:
        words += ["--overlap", "--relative=0"]
    yield " ".join(["srun", *quoted_words(words), "--export=ALL", "--kill-on-bad-exit=1"])
    yield from quoted_words(task.srun_args)
    if task.image:
        mounts = mount_argument([f"{job.folder}:{JOB_LINK}", *task.mounts])
        options = [f"--container-image={task.image}", f"--container-mounts={mounts}"]
        options += [f"--container-workdir={task.workdir or f'{JOB_LINK}/code'}"]
        # The folder of the cluster in which the script runs, which Slurm looks for in the container too.
        options += ["--chdir=/"]
        # pyxis takes only one of the two.
        if "--container-mount-home" not in task.srun_args:
            options += ["--no-container-mount-home"]
        yield from quoted_words(options)
    log = shlex.quote(f"{log_path(job.folder)}/{LOG_FOLDER}/{job.label(task)}-%t.")
    yield f"--output={log}{_ATTEMPT}.log --open-mode=append"
    yield " ".join(["bash", shlex.quote(f"{place}/{TASK_SCRIPT}"), shlex.quote(place), shlex.quote(task.launch)])
