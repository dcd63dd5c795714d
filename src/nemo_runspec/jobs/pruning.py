"""Forgetting jobs that ended long ago, with what they have left on their platforms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.connection import connect
from nemo_runspec.jobs.ending import followed_log
from nemo_runspec.jobs.looking import PLACE_S, JobStatus, list_jobs, seconds
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from nemo_runspec.executors.journal import Entry, Journal

_SKEW_SHARE: Final = 10
_MOST_SKEW_S: Final = 3600.0
"""Clocks differ and are set: so much, or a tenth of the wanted age, has to have passed besides."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of an old job's record.

    Args:
        job: The job.
        removed: Whether it is forgotten; in a dry run, whether it would be.
        why: Why it is kept, where it is.
    """

    job: JobStatus
    removed: bool
    why: str = ""

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data; the keys stay what they are."""
        return {**self.job.as_data(), "removed": self.removed, "kept_because": self.why or None}


def prune(
    journal: Journal, *, older_than_s: float, dry_run: bool = False, place_s: float = PLACE_S
) -> tuple[Pruned, ...]:
    """Remove the records of jobs that have ended, and what those have left; never of one that may still run.

    Args:
        journal: Where jobs are recorded.
        older_than_s: How long ago they have to have ended, or been sent where their end was not seen, in seconds.
        dry_run: Remove nothing.
        place_s: As for `list_jobs`.

    Returns:
        What became of each job that is old enough.
    """
    now = time.time()
    old = [entry for entry in journal.entries() if _age_s(entry, now) >= older_than_s]
    return tuple(_pruned(job, journal, dry_run=dry_run) for job in list_jobs(journal, old, place_s=place_s))


def _age_s(entry: Entry, now: float) -> float:
    """Give a record's age less what clocks may differ by; a record from the future has none."""
    age = now - max(seconds(entry.created), seconds(entry.ended))
    return max(0.0, age - min(age / _SKEW_SHARE, _MOST_SKEW_S))


def _pruned(job: JobStatus, journal: Journal, *, dry_run: bool) -> Pruned:
    state = job.seen.state
    if not state.is_final:
        why = job.why or "it cannot be asked" if state is JobState.UNREACHABLE else f"it is {state.value}"
        return Pruned(job, removed=False, why=why)
    if dry_run:
        return Pruned(job, removed=True)
    entry = job.entry
    try:
        if entry.confirmed:  # of what never arrived, the look that has found that out leaves nothing
            connect(entry.platform, entry.connection).remove(entry.submitted)
    except NemotronError as error:
        return Pruned(job, removed=False, why=error.message)
    followed_log(journal, entry.name).unlink(missing_ok=True)
    journal.forget(entry.name)
    return Pruned(job, removed=True)
