"""Run a job through a nemo-run Experiment, so that `nemo experiment` shows it."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.env_vars import process_environment
from nemo_runspec.executors import build_executor, require_supported
from nemo_runspec.job_folder import CLIENT_LOG_FILE, EXIT_CODE_FILE, PID_FILE
from nemo_runspec.submit.prepare import raise_for_exit, write_job, write_launch_script
from nemo_runspec.submit.signals import Interruption, signal_group, signals_passed_on

if TYPE_CHECKING:
    from nemo_run import Executor

    from nemo_runspec.job import Job

ATTACHED = Path(__file__).with_name("attached.sh")
START_S = 20
"""How long a signal waits for a job that is about to start."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was handed over.

    Args:
        job_dir: Its folder.
        pid: The client process that keeps it going.
    """

    job_dir: Path
    pid: int


def run_attached(job: Job) -> None:
    """Run a job through an Experiment and wait for it, showing its output.

    Raises:
        InterruptedJobError: Ctrl-C.
        JobFailedError: The job ended with a non-zero status.
    """
    require_supported(job.profile)
    write_job(job)
    write_launch_script(job)
    executor = build_executor(job.profile, env_vars={v.name: v.value for v in job.env if not v.secret})
    # A local job inherits our environment; nemo-run would write secrets to disk with the executor.
    with process_environment(variable for variable in job.env if variable.secret):
        interruption = run_experiment(job.spec.name, job.job_dir, executor)
    raise_for_exit(job.job_dir, job.spec.name, _exit_code(job.job_dir), interrupted=interruption.by_user)


def run_experiment(name: str, job_dir: Path, executor: Executor) -> Interruption:
    """Run the launch script of a job folder through an Experiment and wait; SIGINT and SIGTERM are passed on to it.

    Args:
        name: The recipe's name.
        job_dir: The job's folder.
        executor: Where to run it.

    Returns:
        What the job was asked to do by a signal to us.
    """
    # In a thread: torchx takes over the signal handlers of the main thread, and then waits for the job all the same.
    with ThreadPoolExecutor(max_workers=1) as pool, signals_passed_on(partial(_signal_job, job_dir)) as interruption:
        pool.submit(_run_experiment, name, job_dir, executor).result()
    return interruption


def _run_experiment(name: str, job_dir: Path, executor: Executor) -> None:
    import nemo_run as run  # noqa: PLC0415 - takes seconds to import

    title = name.replace("/", "-")
    with run.Experiment(title, executor=executor) as experiment:
        experiment.add(run.Script(path=str(ATTACHED), args=[str(job_dir)], entrypoint="bash"), name=title)
        experiment.run(detach=False, tail_logs=True)


def _signal_job(job_dir: Path, number: int) -> None:
    path = job_dir / PID_FILE
    deadline = time.monotonic() + START_S
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if path.is_file():
        signal_group(int(path.read_text(encoding="utf-8")), number)


def _exit_code(job_dir: Path) -> int | None:
    # nemo-run ends with 0 whatever became of the job; the job's own file tells.
    path = job_dir / EXIT_CODE_FILE
    return int(path.read_text(encoding="utf-8")) if path.is_file() else None


def run_detached(job: Job) -> Submission:
    """Hand a job to a client process that outlives this one.

    nemo-run's local executor keeps its jobs only as long as the client lives, so a client is left running
    (`python -m nemo_runspec.submit.detached`), which runs the Experiment attached.
    """
    require_supported(job.profile)
    write_job(job)
    write_launch_script(job)
    env = {**os.environ, **{variable.name: variable.value for variable in job.env}}
    module = "nemo_runspec.submit.detached"
    command = [sys.executable, "-m", module, job.spec.name, str(job.job_dir), str(job.profile.processes_per_node)]
    log = str(job.job_dir / CLIENT_LOG_FILE)
    # Not subprocess: it takes a child that is still running at our end for a mistake.
    pid = os.posix_spawn(
        sys.executable,
        command,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Submission(job.job_dir, pid)
