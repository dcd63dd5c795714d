"""Run a job as a child process of this command."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, BinaryIO

from nemo_runspec.config.save import open_private
from nemo_runspec.job_folder import LOG_FILE
from nemo_runspec.stage import die_with_parent
from nemo_runspec.submit.prepare import raise_for_exit, write_job, write_launch_script
from nemo_runspec.submit.signals import Interruption, signal_group, signals_passed_on

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.job import Job

DRAIN_S = 2
"""How long the output of an ended job may stay open: something that it left running may hold it for ever."""
POLL_S = 0.2


def execute_local(job: Job) -> None:
    """Run a job here and wait for it, showing and logging its output.

    Ctrl-C is passed on once; a job that does not end within the grace time is ended.

    Raises:
        InterruptedJobError: Ctrl-C.
        JobFailedError: The job or one of its startup commands ended with a non-zero status.
    """
    write_job(job)
    script = write_launch_script(job)
    env = {**os.environ, **{variable.name: variable.value for variable in job.env}}
    with open_private(job.job_dir / LOG_FILE) as log:
        code, interruption = run_script(script, env=env, log=log)
    raise_for_exit(job.job_dir, job.spec.name, code, interrupted=interruption.by_user)


def run_script(script: Path, *, env: Mapping[str, str], log: BinaryIO) -> tuple[int, Interruption]:
    """Run a bash script in a process group of its own, copying its output to ours and to a log.

    Args:
        script: The script.
        env: Its whole environment.
        log: Where its output is kept.

    Returns:
        Its exit code, negative for a signal, and what it was asked to do by a signal to us.
    """
    # A group of its own, so that a signal to us reaches it exactly once and in the order that we choose; tied to us,
    # so that nothing is left running when we are killed. Signals are ours to pass on before it starts.
    leader: Future[int] = Future()
    with (
        signals_passed_on(lambda number: signal_group(leader.result(), number)) as interruption,
        subprocess.Popen(
            ["bash", str(script)],  # noqa: S607 - the user's own bash, wherever PATH has it
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, and no thread of ours runs yet
        ) as process,
    ):
        leader.set_result(process.pid)
        stop = threading.Event()
        copier = threading.Thread(target=_copy, args=(process.stdout, log, stop), daemon=True)
        copier.start()
        code = process.wait()
        # A finished job leaves nothing behind in its group.
        signal_group(process.pid, signal.SIGTERM)
        copier.join(timeout=DRAIN_S)
        signal_group(process.pid, signal.SIGKILL)
        stop.set()
        copier.join()
    return code, interruption


def _copy(source: BinaryIO, log: BinaryIO, stop: threading.Event) -> None:
    """Copy until the end of the output, or until told to stop; the job goes on even if nobody reads ours."""
    shown = True
    while not stop.is_set():
        if not select.select([source], [], [], POLL_S)[0]:
            continue
        chunk = os.read(source.fileno(), 65536)
        if not chunk:
            return
        log.write(chunk)
        log.flush()
        shown = shown and _show(chunk)


def _show(chunk: bytes) -> bool:
    """Write to our output; a notebook's takes text only. Tell whether anybody still reads it."""
    try:
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.buffer.write(chunk)
        else:
            sys.stdout.write(chunk.decode(errors="replace"))
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True
