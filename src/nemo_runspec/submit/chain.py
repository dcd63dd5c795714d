"""Several jobs of one cluster, each of which waits there for the one before it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nemo_runspec.errors import InterruptedJobError, JobFailedError, PlatformError, UnreachableError
from nemo_runspec.executors.journal import Journal, nemo_run_home
from nemo_runspec.executors.once import NothingToTakeError
from nemo_runspec.submit.job_files import title_of
from nemo_runspec.submit.platform import Sent, Take, follow, stop_of, submit, to_stderr
from nemo_runspec.submit.signals import signals_passed_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Submitted
    from nemo_runspec.submit.watching import Stop


def submit_chain(jobs: Sequence[Job], accepted: Callable[[Job, Submitted], None]) -> list[Sent]:
    """Submit jobs, so that each starts when the one before it has succeeded.

    Args:
        jobs: In order.
        accepted: Called with each job that was accepted.

    Raises:
        NemotronError: One cannot be submitted. Those before it are cancelled; where the cluster cannot be reached, they
            go on, and the same command takes them over.
        InterruptedJobError: A signal came; those before are cancelled.
    """
    standing = {} if any(job.request.new for job in jobs) else _standing(jobs)
    last = max(standing, default=-1)
    sent: list[Sent] = []
    for number, job in enumerate(jobs):
        one = standing.get(number)
        # What stands waits for those before it: they have succeeded, or it would not be there.
        take = Take.ALSO_ENDED if number < last else Take.OR_SUBMIT
        after = [sent[-1].workload.id] if sent else []
        try:
            sent.append(one or _sent(job, accepted, take, after))
        except UnreachableError:
            raise
        except NothingToTakeError as error:
            message = f"{job.spec.name} was submitted before, as what waits for it was, and its record is gone"
            raise UnreachableError(message, remedy="Give --new to submit all of it again.") from error
        except BaseException:  # whatever it is, nothing may be left waiting for a job that never comes
            cancel([one for one in sent if not one.taken])
            raise
    return sent


def _sent(job: Job, accepted: Callable[[Job, Submitted], None], take: Take, after: Sequence[str]) -> Sent:
    stop = stop_of(job, to_stderr)
    with signals_passed_on(stop):
        sent = submit(job, stop, to_stderr, accepted=_of(job, accepted), after=after, take=take)
        if stop.abandoned.is_set() and not sent.taken:
            cancel([sent])
        _refuse_if_interrupted(job, stop)
    return sent


def _standing(jobs: Sequence[Job]) -> dict[int, Sent]:
    """Give those of the jobs that the same command has submitted before, and that have not ended."""
    journal = Journal(nemo_run_home())
    live = {(entry.profile, entry.title) for entry in journal.entries() if entry.last_state is None}
    found = {}
    for number, job in enumerate(jobs):
        if (job.profile.name, title_of(job)) in live:
            with suppress(NothingToTakeError):  # it is another job of the same name
                found[number] = _sent(job, lambda _job, _workload: None, Take.GOING_ON, ())
    return found


def _refuse_if_interrupted(job: Job, stop: Stop) -> None:
    """Submit nothing more after a signal, also where the cluster has accepted the job in spite of it.

    Raises:
        InterruptedJobError: There was one.
    """
    if stop.abandoned.is_set():
        message = f"{job.spec.name} was interrupted while it was submitted"
        raise InterruptedJobError(message, remedy="Run the same command again to submit it.")


def _of(job: Job, accepted: Callable[[Job, Submitted], None]) -> Callable[[Submitted, float], None]:
    return lambda workload, _seconds: accepted(job, workload)


def follow_chain(sent: Sequence[Sent], observe: Callable[[int], None]) -> Iterator[Sent]:
    """Show the output of each job until its end, and give it then.

    Args:
        sent: What `submit_chain` gave.
        observe: Called with the number of each job, from 0, before it is followed.

    Raises:
        InterruptedJobError: A signal: all go on without us, or are stopped where that was asked for.
        JobFailedError: One failed; those that wait for it are cancelled.
    """
    for number, one in enumerate(sent):
        observe(number)
        stop = stop_of(one.job, to_stderr)
        try:
            with signals_passed_on(stop) as interruption:
                follow(one, stop, to_stderr, interruption)
        except InterruptedJobError:
            if stop.cancels:
                cancel(sent[number + 1 :])
            raise
        except JobFailedError:
            cancel(sent[number + 1 :])
            raise
        yield one


def cancel(sent: Sequence[Sent]) -> None:
    """Cancel jobs that nothing comes of any more, the last one first, and say so."""
    for one in reversed(sent):
        name = f"{one.job.spec.name} ({one.workload.name})"
        try:
            one.platform.cancel(one.workload)
        except PlatformError as error:
            to_stderr(f"{name} could not be cancelled: {error}")
        else:
            to_stderr(f"{name} is cancelled")
