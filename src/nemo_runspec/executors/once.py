"""Submitting a job once: the same submission again finds the first one, whatever became of the client that made it.

Whoever submits holds a lock on what it submits, reads in the journal what was submitted before, and asks the platform
about all of it that nobody knows. Only what is surely not there is sent, and under the name that it had before, so that
even a first request which arrives late makes no second job.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import NemotronError, PlatformError, UnreachableError
from nemo_runspec.executors.fault_points import reach
from nemo_runspec.executors.file_lock import held, is_held
from nemo_runspec.platforms.abandoning import AbandonedError, pause, refuse_if_abandoned
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemo_runspec.executors.journal import Entry, Journal
    from nemo_runspec.platforms.workload import Platform

log = logging.getLogger(__name__)

CLAIM_S: Final = 900.0
"""How long a second client waits while a first one submits the same job, in seconds: sources may be large."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How whoever submits wants a job submitted.

    Args:
        new: Submit another job, whatever was submitted before.
        also_told: Take a job that is still going on for this one, also where its user knows of it. Without it only a
            submission that nobody has heard of is taken up: a program that submits the same task twice wants it twice.
        also_ended: Take the last job that was this one and has succeeded, too.
        only_take: Submit nothing where there is no job to take.
        leaves: Whether nobody stays to wait for the job's end.
        tells: Whether it calls `tell` itself when it has told its user. Otherwise, to return is to tell.
        say: Called with what is worth knowing.
        takes: Called when a job that was submitted before is taken for this one.
    """

    new: bool = False
    also_told: bool = False
    also_ended: bool = False
    only_take: bool = False
    leaves: bool = False
    tells: bool = False
    say: Callable[[str], None] = log.info
    takes: Callable[[], object] = bool


WISH: Final[ContextVar[Wish]] = ContextVar("nemo_runspec_wish", default=Wish())  # noqa: B039 - it is frozen
"""Set by the one who submits; nemo-run and torchx, which stand in between, hand contexts on to their threads."""


class NothingToTakeError(PlatformError):
    """There is no job that could be taken for this one, and another one was not wished for."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What there is of a job that is about to be submitted.

    Args:
        adopted: The job that was submitted before, and is this one.
        resumed: A record of a submission that did not reach the platform; its name is used again.
    """

    adopted: Entry | None = None
    resumed: Entry | None = None


@contextmanager
def claim(
    journal: Journal, fingerprint: str, platform: Platform, wish: Wish, *, deadline_s: float = CLAIM_S
) -> Iterator[Claimed]:
    """Keep every other client from submitting the same job while the body runs, and find what there is of it.

    Args:
        journal: Where submissions are recorded.
        fingerprint: What the submissions of this job have in common.
        platform: The client of the place that is part of the fingerprint.
        wish: How the job is to be submitted.
        deadline_s: How long to wait for another client, in seconds.

    Raises:
        UnreachableError: What became of an earlier submission cannot be asked, or another client takes too long;
            nothing was submitted then.
        AbandonedError: The submission was given up while it waited.
        NothingToTakeError: There is nothing to take, and nothing else is wished for.
    """
    if wish.new:
        yield Claimed()
        return
    path = journal.locks / fingerprint
    lock = held(path, deadline_s=deadline_s, what="submitting the same job", waiting=wish.say, sleep=_pause)
    with lock:
        found = _found(journal, fingerprint, platform, wish)
        # Whoever has given up meanwhile wants nothing; what runs already goes on.
        refuse_if_abandoned()
        if found.adopted is not None:
            wish.takes()
        elif wish.only_take:
            message = "no such job was submitted"
            raise NothingToTakeError(message)
        yield found


def _pause(seconds: float) -> None:
    refuse_if_abandoned()
    pause(seconds)


def _found(journal: Journal, fingerprint: str, platform: Platform, wish: Wish) -> Claimed:
    resumed = None
    for entry in journal.entries():
        if entry.fingerprint != fingerprint:
            continue
        if not entry.confirmed:
            confirmed = _confirmed(journal, entry, platform)
            if confirmed is not None:
                return Claimed(adopted=confirmed)
            resumed = resumed or entry
        elif _goes_on(journal, entry, platform, wish) or (wish.also_ended and entry.last_state is JobState.SUCCEEDED):
            return Claimed(adopted=entry)
    for path in journal.unreadable():
        message = f"{path} cannot be read, and may be the record of the same job; nothing was submitted now"
        raise UnreachableError(message, remedy="Mend or remove it, or run the command with --new.")
    return Claimed(resumed=resumed)


def _confirmed(journal: Journal, entry: Entry, platform: Platform) -> Entry | None:
    """Look up a job of which only the intent is recorded; None where the platform does not have it."""
    if is_held(journal.locks / f"{entry.name}.sending"):
        return None  # it is being sent this moment: whoever takes its name waits for that
    try:
        found = platform.find(entry.kind, entry.name)
    except AbandonedError:
        raise
    except PlatformError as error:
        message = (
            f"an earlier submission of the same job, '{entry.name}', may have been accepted, and that cannot be asked: "
            f"{error.message}; nothing was submitted now"
        )
        raise _unasked(message, error) from error
    if found is None:
        return None
    return journal.change(entry.name, id=found.id, kind=found.kind) or entry.accepted(found)


def _goes_on(journal: Journal, entry: Entry, platform: Platform, wish: Wish) -> bool:
    """Tell whether a job that the platform has accepted is the one that is wanted."""
    if entry.told and (not wish.also_told or entry.last_state is not None):
        return False
    try:
        seen = platform.look(entry.submitted)
    except AbandonedError:
        raise
    except PlatformError as error:
        raise _cannot_be_asked(entry, error) from error
    if seen.state is JobState.UNREACHABLE and entry.told:
        raise _cannot_be_asked(entry, UnreachableError("it does not answer"))
    journal.saw(entry.name, seen)
    if not entry.told:
        return seen.state is not JobState.LOST
    return not seen.state.is_final


def _cannot_be_asked(entry: Entry, error: PlatformError) -> UnreachableError:
    message = (
        f"the same job was submitted before, as '{entry.name}', and whether it has ended cannot be asked: "
        f"{error.message}; nothing was submitted now"
    )
    return _unasked(message, error)


def _unasked(message: str, error: PlatformError) -> UnreachableError:
    remedy = "Run the same command again later, or with --new to submit another job in any case."
    return UnreachableError(message, status=error.status, remedy=f"{error.remedy} {remedy}" if error.remedy else remedy)


def tell(journal: Journal, name: str, say: Callable[[], object]) -> None:
    """Tell the user that a job was accepted, and remember that.

    Args:
        journal: Where it is recorded.
        name: The job's unique name.
        say: Tells the user.
    """
    reach("before-told")
    say()
    try:
        journal.change(name, told=True)
    except (NemotronError, OSError) as error:
        # The job runs. At worst the same command is answered with it once more.
        log.warning("%s", error)
    reach("told")
