"""Run a job in the pods of a cloud: one create call, whose body a dry-run shows and a rehearsal receives."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from nemo_runspec.config.save import open_private, write_private
from nemo_runspec.data_mover import exit_code_of
from nemo_runspec.env import explain_refusal
from nemo_runspec.env_vars import process_environment
from nemo_runspec.errors import (
    DeniedError,
    InterruptedJobError,
    JobFailedError,
    PlatformError,
    RefusedError,
    UnreachableError,
)
from nemo_runspec.executors import build_executor
from nemo_runspec.executors.follow import Ending, Follower, short_name
from nemo_runspec.job_folder import LOG_FILE, WORKLOAD_FILE
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError, refuse_if_abandoned
from nemo_runspec.platforms.workload import JobState
from nemo_runspec.submit.pods import effective_cloud_profile, pod_files, title_of
from nemo_runspec.submit.prepare import write_job
from nemo_runspec.submit.signals import signals_passed_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Platform, Submitted

EXIT_LOST = 1
"""A job that failed without telling its exit code, or of which nobody knows how it ended."""

EXIT_CANCELLED = 143
"""A job that somebody else stopped, as a shell tells of a process that SIGTERM ended."""

LEAVE_S = 5.0
"""How long one who does not want to wait waits for a request that is under way."""

GIVE_UP_POLL_S = 0.2

LAST_LINES = 20
"""How many lines of a failed pod are shown again below everything."""


def execute_cloud(
    job: Job,
    *,
    detach: bool = False,
    say: Callable[[str], None] | None = None,
    accepted: Callable[[Submitted, float], None] = lambda _workload, _seconds: None,
) -> Submitted:
    """Submit a job to its cloud with one create call, and follow it to its end.

    Args:
        job: A job whose profile is a cloud's.
        detach: Return when the platform has accepted it.
        say: Called with each thing worth knowing about the workload; by default it goes to standard error.
        accepted: Called when the platform has accepted it, with the seconds that the submission took.

    Returns:
        The workload.

    Raises:
        NemotronError: It cannot be submitted; nothing is made then.
        InterruptedJobError: Ctrl-C; the workload is stopped first.
        JobFailedError: It failed, was stopped, or is gone; with the training's own exit code where it told one.
    """
    tell = say or _to_stderr
    begin = time.monotonic()
    stop = _Stop(tell)
    with signals_passed_on(stop) as interruption:
        workload, platform = _submitted(job, stop)
        accepted(workload, time.monotonic() - begin)
        if detach:
            return workload
        with open_private(job.job_dir / LOG_FILE) as log:
            show = _Output(workload, several=job.nodes > 1, log=log, redact=job.redactor.text)
            ending = _watch(stop.follow(Follower(platform, workload, show=show, say=tell)), workload)
    _raise_for(job, workload, ending, show, interrupted=interruption.number is not None)
    return workload


def _submitted(job: Job, stop: _Stop) -> tuple[Submitted, Platform]:
    """Submit a job in a thread, because torchx takes over the signal handlers of the main one.

    Raises:
        InterruptedJobError: A signal came first.
    """
    submission: Future[tuple[Submitted, Platform]] = Future()

    def submit() -> None:
        ABANDONED.set(stop.abandoned)
        try:
            submission.set_result(_submit(job))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised again where the result is asked for
            submission.set_exception(error)

    # A daemon: one that hangs must not keep an interrupted command from ending.
    threading.Thread(target=submit, daemon=True, name="submission").start()
    stop.watch(submission)
    while not wait([submission], timeout=GIVE_UP_POLL_S).done:
        if stop.given_up.is_set():
            message = f"{job.spec.name} was interrupted while it was submitted"
            remedy = "Whether the platform has it is not known: look there, or with `nemo experiment`."
            raise InterruptedJobError(message, remedy=remedy)
    error = submission.exception()
    if isinstance(error, AbandonedError):
        message = f"{job.spec.name} was interrupted before anything was submitted"
        raise InterruptedJobError(message, remedy="Run the same command again to submit it.") from error
    if isinstance(error, RefusedError):
        correction = explain_refusal(job.profile, error) or error.remedy
        raise RefusedError(error.message, status=error.status, remedy=correction) from error
    return submission.result()


def _watch(follower: Follower, workload: Submitted) -> Ending:
    try:
        return follower.run()
    except DeniedError as error:
        message = f"{workload.name} may still run, and is not watched any longer: {error.message}"
        remedy = f"{error.remedy or ''} Then look at it with `nemo experiment`, or on the platform.".strip()
        raise UnreachableError(message, status=error.status, remedy=remedy) from error


def _submit(job: Job) -> tuple[Submitted, Platform]:
    import nemo_run as run  # noqa: PLC0415 - takes seconds to import
    from nemo_run.run.experiment import DummyConsole  # noqa: PLC0415 - as above

    from nemo_runspec.data_mover import SourcePackager  # noqa: PLC0415 - needs nemo-run
    from nemo_runspec.executors.connection import connect  # noqa: PLC0415 - beside nemo-run's own import
    from nemo_runspec.executors.journal import Journal, name_in  # noqa: PLC0415 - as above

    refuse_if_abandoned()
    write_job(job)
    files = pod_files(job)
    local = {}
    for name, text in files.texts.items():
        local[name] = str(job.job_dir / "pod" / name)
        (job.job_dir / "pod").mkdir(mode=0o700, exist_ok=True)
        write_private(job.job_dir / "pod" / name, text)
    profile = effective_cloud_profile(job)
    executor = build_executor(profile, env_vars={v.name: v.value for v in job.env if not v.secret})
    executor.packager = SourcePackager(
        script_path=str(job.spec.script_path),
        repo_root=profile.repo_root,
        exclude=list(profile.exclude),
        files=local,
    )
    title = title_of(job)
    secrets = [variable for variable in job.env if variable.secret]
    executor.secrets = [variable.name for variable in secrets]
    # What nemo-run would tell at length, the one who called tells in a line. Not its clean_mode: that is kept with the
    # experiment, and `nemo experiment status` would say nothing either.
    quiet = {"log_level": "WARNING", "enable_goodbye_message": False, "skip_status_at_exit": True}
    # Executors hold the names of secrets, and read the values when they send a job.
    experiment = run.Experiment(title, **quiet)
    experiment.console = DummyConsole()
    with process_environment(secrets), experiment:
        experiment.add(run.Script(inline=files.command, entrypoint="bash"), executor=executor, name=title)
        experiment.run(detach=True)
        handle = experiment.jobs[0].handle
    entry: Entry = Journal(run.config.get_nemorun_home()).read(name_in(handle))
    record = {**asdict(entry.submitted), "experiment": entry.experiment}
    write_private(job.job_dir / WORKLOAD_FILE, json.dumps(record, indent=2))
    return entry.submitted, connect(entry.platform, entry.connection)


class _Stop:
    """What a signal does: the first one gives the submission up, or stops the workload; a second one leaves it.

    Args:
        say: Called with what is being done.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Begin before anything is submitted."""
        self.abandoned = threading.Event()
        self.given_up = threading.Event()
        self._say = say
        self._submission: Future[Future[tuple[Submitted, Platform]]] = Future()
        self._follower: Future[Follower] = Future()
        self._cancelled: Future[None] = Future()

    def watch(self, submission: Future[tuple[Submitted, Platform]]) -> None:
        """Take over the submission, whose workload is to be stopped once it exists."""
        self._submission.set_result(submission)

    def follow(self, follower: Follower) -> Follower:
        """Take over who is to be told to leave."""
        self._follower.set_result(follower)
        return follower

    def __call__(self, number: int) -> None:
        """Answer a signal; called from a thread of its own."""
        submission = self._submission.result()
        if number == signal.SIGKILL:
            self._leave(submission)
        elif not self.abandoned.is_set():
            self.abandoned.set()
            if not submission.done():
                self._say("giving the submission up")
            if submission.exception() is None:
                self._cancel(*submission.result())

    def _cancel(self, workload: Submitted, platform: Platform) -> None:
        self._say(f"stopping {workload.name}")
        try:
            platform.cancel(workload)
        except PlatformError as error:
            self._say(f"{workload.name} could not be stopped: {error}")
            self._follower.result().leave()
        finally:
            self._cancelled.set_result(None)

    def _leave(self, submission: Future[tuple[Submitted, Platform]]) -> None:
        # The request to stop is under way: to leave it behind would leave the workload running.
        wait([submission], timeout=LEAVE_S)
        if not submission.done():
            self.given_up.set()
        elif submission.exception() is None:
            wait([self._cancelled], timeout=LEAVE_S)
            self._say(f"not waiting any longer for {submission.result()[0].name} to stop")
            self._follower.result().leave()


class _Output:
    """Shows and keeps the lines of all pods; with more than one of them, each line says which one it is from."""

    def __init__(self, workload: Submitted, *, several: bool, log: BinaryIO, redact: Callable[[str], str]) -> None:
        """Begin with nothing shown."""
        self._workload = workload
        self._several = several
        self._log = log
        self._redact = redact
        self._last: dict[str, deque[str]] = {}

    def __call__(self, pod: str, line: str) -> None:
        """Show a line of a pod; calls do not overlap."""
        clean = self._redact(line)
        self._last.setdefault(pod, deque(maxlen=LAST_LINES)).append(clean)
        text = f"[{short_name(pod, self._workload.name)}] {clean}\n" if self._several else f"{clean}\n"
        self._log.write(text.encode(errors="backslashreplace"))
        self._log.flush()
        sys.stdout.write(text)
        sys.stdout.flush()

    def last_lines(self, pod: str) -> str:
        """Give the end of a pod's output."""
        return "\n".join(f"    {line}" for line in self._last.get(pod, ()) if exit_code_of(line) is None)


def _raise_for(job: Job, workload: Submitted, ending: Ending, output: _Output, *, interrupted: bool) -> None:
    name = job.spec.name
    where = f"Its output is kept in {job.job_dir / LOG_FILE}."
    if interrupted:
        if ending.state.is_final:
            message = f"{name} was stopped: {workload.name} is {ending.state.value}"
            raise InterruptedJobError(message, remedy=f"Run the same command again to go on. {where}")
        message = f"{name} may still run as {workload.name}: it did not stop in time"
        raise InterruptedJobError(message, remedy=f"Look at {workload.id} on the platform, and stop it there. {where}")
    if ending.state is JobState.SUCCEEDED:
        return
    if ending.state is JobState.FAILED and ending.failure is not None:
        pod, code = ending.failure
        message = f"{name} ended with exit code {code} in {pod}, whose last lines were:\n{output.last_lines(pod)}"
        raise JobFailedError(message, exit_code=code, remedy=where)
    reasons = {
        JobState.FAILED: (EXIT_LOST, f"{name} failed, and no pod has told an exit code"),
        JobState.CANCELLED: (EXIT_CANCELLED, f"{name} was stopped on the platform, and not from here"),
        JobState.LOST: (EXIT_LOST, f"{name} is gone: {workload.id} was deleted, and how it ended is not known"),
    }
    code, message = reasons[ending.state]
    raise JobFailedError(message, exit_code=code, remedy=where)


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
