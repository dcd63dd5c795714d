"""Ending a job, and staying with it until it ends."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nemo_runspec.config.save import open_private
from nemo_runspec.errors import GoneError, UnreachableError
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.follow import Ending
from nemo_runspec.jobs.looking import BEING_SENT, NEVER_ARRIVED, JobStatus, not_confirmed, noted, remembered, status
from nemo_runspec.platforms.lepton_ray import release
from nemo_runspec.platforms.ray_request import RAY_KINDS
from nemo_runspec.platforms.workload import JobState, Seen
from nemo_runspec.submit.signals import signals_passed_on
from nemo_runspec.submit.watching import Output, Stop, Watched, raise_for_ending, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.executors.journal import Entry, Journal
    from nemo_runspec.platforms.workload import Platform, Submitted
    from nemo_runspec.redaction import Redactor

SENT_S: Final = 10.0
"""How long whoever cancels a job waits for the end of its submission, in seconds."""
_LOOK_S: Final = 0.2


def cancel(entry: Entry, journal: Journal) -> JobStatus:
    """Stop a job, whatever it is doing; one that has ended keeps the end that it had.

    Args:
        entry: The job's record.
        journal: Where it is recorded.

    Returns:
        How it stands then; it may have ended by itself just before.

    Raises:
        UnreachableError: It cannot be asked, or is still being submitted, so that it may go on.
        PlatformError: The platform does not stop it.
    """
    before = _when_sent(entry, journal)
    if before.seen.state.is_final:
        return before
    if not before.entry.confirmed:
        raise not_confirmed(before)
    platform = connect(entry.platform, entry.connection)
    workload = before.entry.submitted
    platform.cancel(workload)
    seen = platform.look(workload)
    # Some platforms stop a job by deleting it.
    if seen.state is JobState.LOST:
        seen = replace(seen, state=JobState.CANCELLED)
    known = noted(before.entry, journal, lambda: journal.saw(entry.name, seen))
    if seen.state is JobState.UNREACHABLE:
        message = f"'{entry.name}' was asked to stop, and whether it has is not known: it cannot be asked any more"
        raise UnreachableError(message, remedy=f"Look again: nemotron jobs status {entry.name}")
    return JobStatus(known, seen)


def _when_sent(entry: Entry, journal: Journal) -> JobStatus:
    """Give a job's state, after a while where somebody is just submitting it."""
    end = time.monotonic() + SENT_S
    while (now := status(entry, journal)).seen.word == BEING_SENT and time.monotonic() < end:
        time.sleep(_LOOK_S)
    return now


def followed_log(journal: Journal, name: str) -> Path:
    """Give the file that keeps what was shown of a job when it was followed again.

    Args:
        journal: Where it is recorded.
        name: The job's key.
    """
    return journal.folder.parent / "logs" / f"{name}.log"


def reattach(
    entry: Entry,
    journal: Journal,
    redactor: Redactor,
    *,
    say: Callable[[str], None],
    cancel_on_interrupt: bool = False,
    quiet: bool = False,
) -> JobStatus:
    """Show a job's output from its beginning, and stay until it has ended.

    Args:
        entry: The job's record.
        journal: Where it is recorded.
        redactor: Takes secrets out of what is shown and kept.
        say: Called with each thing worth knowing about the job itself.
        cancel_on_interrupt: Whether Ctrl-C stops the job, instead of leaving it to go on.
        quiet: Whether its output is only kept, and not shown.

    Returns:
        How it ended: successfully.

    Raises:
        GoneError: It never reached its platform, or that does not know it any more.
        InterruptedJobError: Ctrl-C.
        JobFailedError: It failed, was stopped, or is lost; with the job's own exit code where that is known.
        PlatformError: It cannot be asked, or does not let us.
    """
    now = status(entry, journal)
    entry = now.entry
    if now.seen.state is JobState.LOST:
        reason = NEVER_ARRIVED if now.seen.word == NEVER_ARRIVED else "its platform does not know it any more"
        message = f"there is nothing to follow of '{entry.name}': {reason}"
        raise GoneError(message)
    if not entry.confirmed:
        raise not_confirmed(now)
    platform = connect(entry.platform, entry.connection)
    stop = Stop(say, cancels=cancel_on_interrupt)
    submission: Future[tuple[Submitted, Platform]] = Future()
    submission.set_result((entry.submitted, platform))
    stop.watch(submission)
    log_path = followed_log(journal, entry.name)
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    watched = Watched(platform, entry.submitted, entry.title or entry.name, log_path)
    watched.log_path.unlink(missing_ok=True)  # what comes is all of it again
    with signals_passed_on(stop) as interruption, open_private(watched.log_path) as log:
        several = entry.nodes != 1 and entry.kind not in RAY_KINDS
        show = Output(entry.submitted, several=several, log=log, redact=redactor.text, quiet=quiet)
        # What only the record knows is told by it.
        ending = Ending(now.seen, {}) if now.remembered else watch(watched, show, stop=stop, say=say)
    if ending.state.is_final and not now.remembered:
        release(platform, entry.submitted)
    known = noted(entry, journal, lambda: journal.saw_end(entry.name, ending))
    raise_for_ending(watched, ending, show, interrupted=interruption.number is not None, cancelled=cancel_on_interrupt)
    return remembered(known) if known.last_state else JobStatus(known, Seen(ending.state))
