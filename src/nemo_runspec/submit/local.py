"""Run a job as a child process of this command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from nemo_runspec.errors import JobFailedError
from nemo_runspec.job_folder import LOG_FILE
from nemo_runspec.stage import die_with_parent
from nemo_runspec.submit.prepare import raise_for_exit, write_job
from nemo_runspec.submit.signals import GRACE_S, signal_group, signals_passed_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nemo_runspec.job import Job


def execute_local(job: Job) -> None:
    """Run a job here and wait for it, showing and logging its output.

    Ctrl-C is passed on once; a job that does not end within the grace time is ended.

    Raises:
        InterruptedJobError: Ctrl-C.
        JobFailedError: The job or one of its startup commands ended with a non-zero status.
    """
    write_job(job)
    env = {**os.environ, **{variable.name: variable.value for variable in job.env}}
    with (job.job_dir / LOG_FILE).open("ab") as log:
        for command in job.profile.startup_commands:
            code = run_process(["bash", "-c", command], env=env, log=log)
            if code:
                message = f"startup command '{command}' ended with exit code {code}"
                raise JobFailedError(message, exit_code=code, remedy="Correct startup_commands in the profile.")
        code = run_process(job.command, env=env, log=log)
    raise_for_exit(job.job_dir, job.spec.name, code)


def run_process(command: Sequence[str], *, env: Mapping[str, str], log: BinaryIO, cwd: Path | None = None) -> int:
    """Run a command in a process group of its own, copying its output to ours and to a log.

    Args:
        command: The command, as arguments.
        env: Its whole environment.
        log: Where its output is kept.
        cwd: Its working directory; ours when not given.

    Returns:
        Its exit code; negative for a signal.
    """
    # A group of its own, so that a signal reaches launcher and ranks together and exactly once; tied to us, so
    # that nothing is left running when we are killed.
    with subprocess.Popen(
        command,
        env=dict(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, and no thread of ours runs yet
    ) as process:
        copier = threading.Thread(target=_copy, args=(process.stdout, log), daemon=True)
        copier.start()
        with signals_passed_on(partial(signal_group, process.pid)):
            code = process.wait()
        # A finished job leaves nothing behind; what it leaves would also keep its output open.
        signal_group(process.pid, signal.SIGTERM)
        copier.join(timeout=GRACE_S)
        signal_group(process.pid, signal.SIGKILL)
        copier.join()
    return code


def _copy(source: BinaryIO, log: BinaryIO) -> None:
    while chunk := os.read(source.fileno(), 65536):
        log.write(chunk)
        log.flush()
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
