"""Run a job through a nemo-run Experiment, so that `nemo experiment` shows it."""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.env_vars import process_environment
from nemo_runspec.executors import build_executor
from nemo_runspec.executors.journal import Journal, nemo_run_home
from nemo_runspec.executors.once import WISH, Wish, tell
from nemo_runspec.executors.submission import Sender, send
from nemo_runspec.job_folder import EXIT_CODE_FILE, PID_FILE
from nemo_runspec.platforms.local import JOB_FOLDER
from nemo_runspec.platforms.local import request as process
from nemo_runspec.platforms.workload import replace_text
from nemo_runspec.submit.prepare import raise_for_exit, write_job, write_launch_script
from nemo_runspec.submit.signals import Interruption, signal_group, signals_passed_on
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_run import Executor

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Request, Submitted

ATTACHED = Path(__file__).with_name("attached.sh")
START_S = 20
"""How long a signal waits for a job that is about to start."""
POLL_S = 0.1


def run_attached(job: Job) -> None:
    """Run a job through an Experiment and wait for it, showing its output.

    Raises:
        InterruptedJobError: Ctrl-C.
        JobFailedError: The job ended with a non-zero status.
    """
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


def run_detached(job: Job, say: Callable[[str], None], accepted: Callable[[Submitted], None]) -> Submitted:
    """Hand a job to a client process that outlives this one, unless the same job is running already.

    nemo-run's local executor keeps its jobs only as long as the client lives, so a client is left running
    (`python -m nemo_runspec.submit.detached`), which runs the Experiment attached.

    Args:
        job: The job.
        say: Called with what is worth knowing.
        accepted: Called when the client runs.

    Raises:
        NemotronError: Something keeps the job from starting, or its process cannot be started.
    """
    write_job(job)
    write_launch_script(job)
    name, here = job.spec.name, str(job.job_dir)
    argv = [sys.executable, "-m", "nemo_runspec.submit.detached", name, here, str(job.profile.processes_per_node)]
    env = {variable.name: variable.value for variable in job.env if not variable.secret}
    what = {"command": job.command, "config": job.train_config, "startup": job.profile.startup_commands}
    # The folder is another one each time.
    argv, env, what = replace_text(thaw([argv, env, what]), {here: JOB_FOLDER})
    secrets = {variable.name: variable.value for variable in job.env if variable.secret}
    request = process(argv, job.job_dir, env=env, secrets=secrets, what=what)
    WISH.set(Wish(new=job.request.new, also_told=True, tells=True, say=say))
    entry = start_process(request, name.replace("/", "-"), job.job_dir, profile=job.profile.name)
    tell(Journal(nemo_run_home()), entry.name, lambda: accepted(entry.submitted))
    return entry.submitted


def start_process(request: Request, title: str, job_dir: Path, *, profile: str = "") -> Entry:
    """Start a process that outlives this one, unless the same is running already: then the folder is removed.

    Args:
        request: The process.
        title: What it is called.
        job_dir: The job's folder, which is there.
        profile: The profile that it is started with.

    Raises:
        NemotronError: It cannot be started.
    """
    here = str(job_dir)
    journal = Journal(nemo_run_home())
    entry = send(
        request, title, Sender(connection={"profile": profile}, journal=journal, home=here, job_dir=here, nodes=1)
    )
    if entry.job_dir != here:
        shutil.rmtree(job_dir)  # nothing runs in it: the same job runs elsewhere
    return entry
