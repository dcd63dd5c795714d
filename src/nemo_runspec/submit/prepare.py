"""The job folder: what is written before a job starts, and what is read when it has ended."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from nemo_runspec.config.save import save_configs, write_private
from nemo_runspec.errors import EXIT_INTERRUPTED, InterruptedJobError, JobFailedError, shell_status
from nemo_runspec.job_folder import ERROR_FILE, LAUNCH_FILE, LOG_FILE
from nemo_runspec.provenance import collect
from nemo_runspec.stage.inputs import references
from nemo_runspec.words import Expanded, join, startup_lines

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.job import Job

EXIT_UNKNOWN = 1


def job_description(job: Job) -> dict[str, Any]:
    """Give the job as plain data, secrets taken out: what a dry-run shows."""
    cleaned: dict[str, Any] = job.redactor.data(_description(job))
    # Below `env` and `origins`, a secret's name has nothing secret; places are read by scripts and have to be exact.
    return {
        **cleaned,
        "job_dir": str(job.job_dir),
        "env": {
            variable.name: {"value": job.redactor.text(variable.shown), "origin": variable.origin}
            for variable in job.env
        },
        "origins": dict(job.config.origins),
        "artifacts": {"root": job.artifact_root, "inputs": _shown_inputs(job), "missing": list(job.missing)},
    }


def _shown_inputs(job: Job) -> dict[str, str]:
    """Give each input as a reference, also where only the job itself will know its version."""
    return {key: next(references(value), value) if job.deferred else value for key, value in job.inputs.items()}


def _description(job: Job) -> dict[str, Any]:
    return {
        "name": job.spec.name,
        "profile": job.profile.name,
        "executor": job.profile.executor,
        "script": str(job.spec.script_path),
        "config_file": str(job.config.path),
        "command": list(job.command),
        "config": {"run": dict(job.run), **job.train_config},
        "obstacles": [obstacle.message for obstacle in job.obstacles],
    }


def shown_command(job: Job) -> str:
    """Give the command as a shell would take it, secrets taken out."""
    words = job.redactor.data(list(job.command))
    parts = zip(job.command, words, strict=True)
    return join(Expanded(word) if isinstance(own, Expanded) else str(word) for own, word in parts)


def job_record(job: Job) -> dict[str, Any]:
    """Give what `job.yaml` holds: the description and what it was made from."""
    provenance = collect(
        job.spec.script_path.parent,
        argv=job.request.argv,
        overrides=tuple(map(str, job.request.overrides)),
        profile={"name": job.profile.name, "source": str(job.profile.source or ""), "values": job.profile.as_config()},
    )
    return {**job_description(job), "provenance": job.redactor.data(provenance)}


def write_job(job: Job) -> None:
    """Make the job folder (mode 0700) with `job.yaml` and `train.yaml`.

    Raises:
        ProfileError: Something keeps the job from starting here and now, such as a secret that is not set.
    """
    for obstacle in job.obstacles:
        raise obstacle
    save_configs(job_record(job), job.train_config, job.job_dir, config_format=job.spec.config.format)


def write_launch_script(job: Job) -> Path:
    """Write the script that becomes the job: startup commands and the command itself, in one shell.

    The real command stands in it, also where it is redacted elsewhere: only its owner can read it.
    """
    lines = ["#!/usr/bin/env bash", "set -e"]
    if job.spec.run.workdir is not None:
        lines.append(f"cd {shlex.quote(job.spec.run.workdir)}")
    lines += startup_lines(job.profile.startup_commands)
    # In the shell's place, so that signals and the exit code are the command's own.
    lines.append(f"exec {join(job.command)}")
    path = job.job_dir / LAUNCH_FILE
    write_private(path, "\n".join(lines) + "\n")
    return path


def raise_for_exit(job_dir: Path, name: str, code: int | None, *, interrupted: bool = False) -> None:
    """Turn a job's exit code into the error to end with; 0 passes.

    An error that the script itself reported (`error.json`) takes the place of the launcher's number: torchrun
    answers every failure of a rank with 1.

    Args:
        job_dir: The job's folder.
        name: The job's name.
        code: The exit code; negative for a signal, as `subprocess` gives it; None where it is not known.
        interrupted: Whether the job was asked to end with SIGINT; what it answered does not count then.

    Raises:
        InterruptedJobError: The job ended on SIGINT.
        JobFailedError: It ended with any other non-zero status, or nobody knows how.
    """
    log = f"Its log is {job_dir / LOG_FILE}."
    if code is None and not interrupted:
        message = f"{name} ended without leaving an exit code"
        raise JobFailedError(message, exit_code=EXIT_UNKNOWN, remedy=log)
    reported = read_error(job_dir)
    status = EXIT_INTERRUPTED if interrupted or code is None else shell_status(code)
    if reported and status:
        status = int(reported["exit_code"])
    if status == 0:
        return
    if status == EXIT_INTERRUPTED:
        remedy = f"Run the same command again to go on from the last checkpoint. {log}"
        message = f"{name} was interrupted"
        raise InterruptedJobError(message, remedy=remedy)
    # The script has shown the whole error; its first line is enough to know which one.
    message = f"{name}: {reported['message'].splitlines()[0]}" if reported else f"{name} ended with exit code {status}"
    raise JobFailedError(message, exit_code=status, remedy=log)


def read_error(job_dir: Path) -> dict[str, Any] | None:
    """Read the error that a script left behind, or None."""
    path = job_dir / ERROR_FILE
    if not path.is_file():
        return None
    error: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return error
