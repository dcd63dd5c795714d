"""Run a job on its platform: one create call, whose body a dry-run shows and a rehearsal receives."""

from __future__ import annotations

import enum
import json
import sys
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from nemo_runspec.config.save import open_private, write_private
from nemo_runspec.env import SlurmProfile, explain_refusal
from nemo_runspec.env_vars import process_environment
from nemo_runspec.errors import ConfigError, InterruptedJobError, JobFailedError, PlatformError, RefusedError
from nemo_runspec.executors import build_executor
from nemo_runspec.executors.journal import Journal, nemo_run_home
from nemo_runspec.executors.once import WISH, Wish
from nemo_runspec.executors.once import tell as told
from nemo_runspec.job_folder import ERROR_FILE, LOG_FILE, RESULT_FILE, WORKLOAD_FILE
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError, refuse_if_abandoned
from nemo_runspec.platforms.lepton_ray import release
from nemo_runspec.submit.job_files import effective_profile, job_files, title_of
from nemo_runspec.submit.prepare import read_error, write_job
from nemo_runspec.submit.ray import makes_ray_cluster, on_ray_cluster, submit_ray
from nemo_runspec.submit.signals import signals_passed_on
from nemo_runspec.submit.watching import Output, Stop, Watched, raise_for_ending, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Platform, Submitted
    from nemo_runspec.submit.signals import Interruption

GIVE_UP_POLL_S: Final = 0.2


def execute_on_platform(
    job: Job,
    *,
    detach: bool = False,
    say: Callable[[str], None] | None = None,
    accepted: Callable[[Submitted, float], None] = lambda _workload, _seconds: None,
) -> Submitted:
    """Submit a job to its platform with one create call, and follow it to its end.

    Args:
        job: A job whose profile is a cloud's, a cluster's, or a container engine's.
        detach: Return when the platform has accepted it.
        say: Called with each thing worth knowing about the workload; by default it goes to standard error.
        accepted: Called when the platform has accepted it, with the seconds that the submission took.

    Returns:
        The workload.

    Raises:
        NemotronError: It cannot be submitted; nothing is made then.
        InterruptedJobError: Ctrl-C: the job goes on without us, or is stopped first where that was asked for.
        JobFailedError: It failed, was stopped, or is lost; with the training's own exit code where it told one.
    """
    tell = say or to_stderr
    stop = stop_of(job, tell)
    with signals_passed_on(stop) as interruption:
        sent = submit(job, stop, tell, accepted=accepted, leaves=detach)
        # One who gave it up while it was submitted waits until it is stopped.
        if not detach or stop.abandoned.is_set():
            follow(sent, stop, tell, interruption)
    return sent.workload


def execute_ray_on_platform(
    job: Job,
    *,
    detach: bool = False,
    say: Callable[[str], None] | None = None,
    accepted: Callable[[Submitted, float], None] = lambda _workload, _seconds: None,
) -> Submitted:
    """Submit a job that is the driver of a Ray, and follow it to its end.

    On several nodes of Lepton it runs on a Ray cluster of the platform, on those of Slurm and DGX Cloud on a Ray that
    they form themselves; on one node the script starts its own.

    Args:
        job: As for `execute_on_platform`; its script has `launch = "ray"`.
        detach: As for `execute_on_platform`.
        say: As for `execute_on_platform`.
        accepted: As for `execute_on_platform`.

    Returns:
        The workload.

    Raises:
        ConfigError: Its script is started otherwise.
        NemotronError: As for `execute_on_platform`.
    """
    if job.spec.run.launch != "ray":
        message = f'{job.spec.name} is no job on Ray: its launch is "{job.spec.run.launch}"'
        remedy = 'Write launch = "ray" below [tool.runspec.run] of the script, or use execute_cloud.'
        raise ConfigError(message, where=job.spec.source, remedy=remedy)
    return execute_on_platform(job, detach=detach, say=say, accepted=accepted)


class Take(enum.Enum):
    """Which earlier job may be taken for one that is submitted."""

    OR_SUBMIT = "one that goes on; else another is submitted"
    GOING_ON = "one that goes on; nothing is submitted"
    ALSO_ENDED = "one that goes on or has succeeded; nothing is submitted"


@dataclass(frozen=True, slots=True)
class Sent:
    """A job that its platform has accepted.

    Args:
        job: The job.
        workload: What it is there.
        platform: The platform's client.
        taken: Whether it was submitted before, and is only taken over.
    """

    job: Job
    workload: Submitted
    platform: Platform
    taken: bool = False


def stop_of(job: Job, say: Callable[[str], None]) -> Stop:
    """Give what a signal does to a job: what a rehearsal runs ends with the rehearsal."""
    # A cluster that was made for a job would go on after it, with nobody to end it.
    cancels = job.request.cancel_on_interrupt or job.request.rehearse or makes_ray_cluster(job)
    return Stop(say, cancels=cancels)


def submit(
    job: Job,
    stop: Stop,
    say: Callable[[str], None],
    *,
    accepted: Callable[[Submitted, float], None],
    after: Sequence[str] = (),
    take: Take = Take.OR_SUBMIT,
    leaves: bool = False,
) -> Sent:
    """Submit a job, and tell that it was accepted.

    Args:
        job: The job.
        stop: Told of the submission, so that a signal can give it up.
        say: Called with each thing worth knowing.
        accepted: As for `execute_on_platform`.
        after: Identifiers of the jobs of the same cluster that have to succeed first.
        take: Which earlier job may be taken for this one.
        leaves: Whether nobody stays to wait for its end.

    Raises:
        NemotronError: It cannot be submitted; nothing is made then.
        InterruptedJobError: A signal came first.
        NothingToTakeError: There is no earlier job, and no other was wished for.
    """
    begin = time.monotonic()
    wish = Wish(
        new=job.request.new,
        also_told=True,
        also_ended=take is Take.ALSO_ENDED,
        only_take=take is not Take.OR_SUBMIT,
        leaves=leaves,
        tells=True,
        say=say,
        takes=stop.taken.set,
    )
    workload, platform = _submitted(job, stop, wish, after)
    told(Journal(nemo_run_home()), workload.name, partial(accepted, workload, time.monotonic() - begin))
    return Sent(job, workload, platform, taken=stop.taken.is_set())


def follow(sent: Sent, stop: Stop, say: Callable[[str], None], interruption: Interruption) -> None:
    """Show a job's output until its end, and keep what it leaves for its submitter.

    Args:
        sent: The job.
        stop: Told of who follows.
        say: Called with each thing worth knowing.
        interruption: The signal that we have got meanwhile.

    Raises:
        InterruptedJobError: A signal has ended the job, or the watch.
        JobFailedError: It failed, was stopped by somebody else, or is lost.
    """
    job = sent.job
    watched = Watched(sent.platform, sent.workload, job.spec.name, job.job_dir / LOG_FILE)
    with open_private(watched.log_path) as log:
        show = Output(
            sent.workload, several=job.nodes > 1 and not on_ray_cluster(job), log=log, redact=job.redactor.text
        )
        ending = watch(watched, show, stop=stop, say=say)
    if ending.state.is_final:
        release(sent.platform, sent.workload)
    Journal(nemo_run_home()).saw_end(sent.workload.name, ending)
    if ending.state.is_final:
        _keep_results(sent)
    interrupted = interruption.number is not None
    # The script has shown the whole error; its first line is enough to know which one.
    reported = None if interrupted else read_error(job.job_dir)
    if reported and ending.seen.exit_code == reported["exit_code"]:
        message = f"{job.spec.name}: {reported['message'].splitlines()[0]}"
        remedy = f"Its output is kept in {watched.log_path}."
        raise JobFailedError(message, exit_code=reported["exit_code"], remedy=remedy)
    raise_for_ending(watched, ending, show, interrupted=interrupted, cancelled=stop.cancels)


def _keep_results(sent: Sent) -> None:
    for name in (RESULT_FILE, ERROR_FILE):
        try:
            content = sent.platform.read(sent.workload, name)
        except PlatformError as error:
            # How the job has ended is known; what it says of itself is only more.
            to_stderr(f"{sent.workload.name}: {name} cannot be read: {error.message}")
            return
        if content is not None:
            write_private(sent.job.job_dir / name, content.decode(errors="replace"))


def _submitted(job: Job, stop: Stop, wish: Wish, after: Sequence[str]) -> tuple[Submitted, Platform]:
    """Submit a job in a thread, because torchx takes over the signal handlers of the main one.

    Raises:
        InterruptedJobError: A signal came first.
    """
    submission: Future[tuple[Submitted, Platform]] = Future()

    def run() -> None:
        ABANDONED.set(stop.abandoned)
        WISH.set(wish)
        try:
            submission.set_result(_submit(job, after))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised again where the result is asked for
            submission.set_exception(error)

    # A daemon: one that hangs must not keep an interrupted command from ending.
    threading.Thread(target=run, daemon=True, name="submission").start()
    stop.watch(submission)
    while not wait([submission], timeout=GIVE_UP_POLL_S).done:
        if stop.given_up.is_set():
            message = f"{job.spec.name} was interrupted while it was submitted"
            remedy = "Whether the platform has it is not known; the same command finds out, and takes it over."
            raise InterruptedJobError(message, remedy=remedy)
    error = submission.exception()
    if isinstance(error, AbandonedError):
        message = f"{job.spec.name} was interrupted before anything was submitted"
        raise InterruptedJobError(message, remedy="Run the same command again to submit it.") from error
    if isinstance(error, RefusedError):
        correction = explain_refusal(job.profile, error) or error.remedy
        raise RefusedError(error.message, status=error.status, remedy=correction) from error
    return submission.result()


def _submit(job: Job, after: Sequence[str]) -> tuple[Submitted, Platform]:
    import nemo_run as run  # noqa: PLC0415 - takes seconds to import
    from nemo_run.run.experiment import DummyConsole  # noqa: PLC0415 - as above

    from nemo_runspec.data_mover import SourcePackager  # noqa: PLC0415 - needs nemo-run
    from nemo_runspec.executors.connection import connect  # noqa: PLC0415 - beside nemo-run's own import
    from nemo_runspec.executors.journal import Journal, name_in  # noqa: PLC0415 - as above

    refuse_if_abandoned()
    write_job(job)
    if on_ray_cluster(job):
        return submit_ray(job)
    files = job_files(job)
    local = {}
    for name, text in files.texts.items():
        local[name] = str(job.job_dir / "pod" / name)
        (job.job_dir / "pod").mkdir(mode=0o700, exist_ok=True)
        write_private(job.job_dir / "pod" / name, text)
    profile = effective_profile(job)
    executor = build_executor(profile, env_vars={v.name: v.value for v in job.env if not v.secret})
    executor.packager = SourcePackager(
        script_path=str(job.spec.script_path),
        repo_root=profile.repo_root,
        exclude=list(profile.exclude),
        files=local,
    )
    if isinstance(profile, SlurmProfile):
        executor.force_squash = job.request.force_squash
        executor.after = list(after)
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


def to_stderr(text: str) -> None:
    """Tell something that is no output of the job's."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
