"""How jobs stand: one, or all of them at many places at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import NemotronError, UnreachableError
from nemo_runspec.executors.connection import cluster_of, connect, place_of
from nemo_runspec.platforms.abandoning import ABANDONED
from nemo_runspec.platforms.workload import JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nemo_runspec.executors.journal import Entry, Journal

log = logging.getLogger(__name__)

PLACE_S: Final = 5.0
"""How long one place may take to tell about all of its jobs, in seconds."""

_AT_ONCE: Final = 4
"""How many jobs of one place are asked about at the same time."""
_NOTHING_KNOWN: Final = frozenset({JobState.LOST, JobState.UNKNOWN, JobState.UNREACHABLE})
NEVER_ARRIVED: Final = "it never arrived"
BEING_SENT: Final = "it is being submitted"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and how it stands.

    Args:
        entry: Its record.
        seen: How it stands.
        why: Why it cannot be told better, where it cannot.
        remembered: Whether this is what was seen earlier, and the platform was not asked or does not know any more.
    """

    entry: Entry
    seen: Seen
    why: str = ""
    remembered: bool = False

    @property
    def cluster(self) -> str:
        """Where it is."""
        return cluster_of(self.entry.platform, self.entry.connection)

    @property
    def age_s(self) -> float:
        """How long ago it was sent, in seconds; 0 where this machine's clock was set back since."""
        return max(0.0, time.time() - seconds(self.entry.created))

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data; the keys stay what they are."""
        entry, seen = self.entry, self.seen
        return {
            "key": entry.name,
            "platform": entry.platform,
            "cluster": self.cluster,
            "profile": entry.profile or None,
            "id": entry.id or None,
            "confirmed": entry.confirmed,
            "title": entry.title,
            "state": seen.state.value,
            "final": seen.state.is_final,
            "word": seen.word or None,
            "exit_code": seen.exit_code,
            "cause": seen.cause.name.lower() if seen.cause else None,
            "attempt": seen.attempt,
            "why": self.why or None,
            "remembered": self.remembered,
            "nodes": entry.nodes or None,
            "experiment": entry.experiment or None,
            "created": entry.created,
            "ended": entry.ended or None,
            "job_dir": entry.job_dir or None,
            "remote_job_dir": entry.pod_job_dir or None,
        }


def seconds(stamp: str) -> float:
    """Give the time of a record as seconds since 1970; 0 where the text is none."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def status(entry: Entry, journal: Journal) -> JobStatus:
    """Ask a job's platform how it stands, and remember an end.

    Args:
        entry: The job's record.
        journal: Where it is recorded.

    Returns:
        How it stands; UNREACHABLE where it cannot be asked and no end was seen before. Where its platform has not
        confirmed it, it is STARTING as long as somebody submits it, and LOST where the platform does not have it.
    """
    try:
        if not entry.confirmed:
            arrival = _arrival(entry, journal)
            if not arrival.entry.confirmed:
                return arrival
            entry = arrival.entry
        seen = connect(entry.platform, entry.connection).look(entry.submitted)
        why = "it does not answer" if seen.state is JobState.UNREACHABLE else ""
    except NemotronError as error:
        seen, why = Seen(JobState.UNREACHABLE), error.message
    if seen.state in _NOTHING_KNOWN and entry.last_state is not None:
        return remembered(entry, why)
    entry = noted(entry, journal, lambda: journal.saw(entry.name, seen))
    if seen.exit_code is None and entry.last_state is seen.state:
        seen = replace(seen, exit_code=entry.exit_code)
    return JobStatus(entry, seen, why)


def _arrival(entry: Entry, journal: Journal) -> JobStatus:
    """Find out whether a job has arrived of which only the intent is recorded; its record then has its identifier.

    While somebody sends it, the platform is not asked: to look it up may take away what has arrived of it so far.
    """
    if sender := journal.sender(entry):
        return _being_sent(entry, sender)
    entry = journal.find(entry.name) or entry  # who has just sent it has noted that before
    if entry.confirmed:
        return JobStatus(entry, Seen(JobState.UNKNOWN))
    found = connect(entry.platform, entry.connection).find(entry.kind, entry.name)
    if found is not None:
        accepted = entry.accepted(found)
        known = noted(accepted, journal, lambda: journal.change(entry.name, id=found.id, kind=found.kind))
        return JobStatus(known, Seen(JobState.UNKNOWN))
    # Somebody may have begun to send it again meanwhile.
    if sender := journal.sender(entry):
        return _being_sent(entry, sender)
    return JobStatus(journal.find(entry.name) or entry, Seen(JobState.LOST, NEVER_ARRIVED))


def _being_sent(entry: Entry, sender: str) -> JobStatus:
    return JobStatus(entry, Seen(JobState.STARTING, BEING_SENT), f"{sender} is submitting it")


def not_confirmed(job: JobStatus) -> UnreachableError:
    """Give the error for what cannot be asked of a job, as its platform has not confirmed that it has it.

    Args:
        job: The job.
    """
    name = job.entry.name
    if job.seen.word == BEING_SENT:
        message = f"'{name}' is only being submitted: {job.why}"
        remedy = f"Stop that command with Ctrl-C or `kill`, or wait for its end; then nemotron jobs status {name}."
    else:
        message = f"whether '{name}' has arrived is not known: {job.why or 'it cannot be asked'}"
        remedy = f"Look again: nemotron jobs status {name}"
    return UnreachableError(message, remedy=remedy)


def noted(entry: Entry, journal: Journal, note: Callable[[], Entry | None]) -> Entry:
    """Keep what was seen of a job; where that cannot be kept, as on a full disk, what was seen is told all the same.

    Args:
        entry: Its record as it is known.
        journal: Where it is recorded.
        note: Changes the record, and gives it.

    Returns:
        The record as it is then.
    """
    try:
        return note() or entry
    except (NemotronError, OSError) as error:
        _warn(str(journal.folder), error.message if isinstance(error, NemotronError) else error.strerror or str(error))
        return entry


@cache
def _warn(folder: str, why: str) -> None:
    """Say once what concerns every job."""
    log.warning("what is seen of jobs cannot be kept in %s: %s", folder, why)


def remembered(entry: Entry, why: str = "") -> JobStatus:
    """Give what is known of a job's end without asking.

    Args:
        entry: The record of a job whose end was seen.
        why: Why it is not asked, or what came of it.
    """
    state = entry.last_state or JobState.UNKNOWN
    return JobStatus(entry, Seen(state, exit_code=entry.exit_code), why, remembered=True)


def list_jobs(
    journal: Journal, entries: Iterable[Entry] | None = None, *, place_s: float = PLACE_S
) -> tuple[JobStatus, ...]:
    """Tell how jobs stand, asking all places at once; an end that was seen is not asked about again.

    Args:
        journal: Where jobs are recorded.
        entries: The jobs; all of them when not given.
        place_s: How long a place may take, in seconds; its jobs are UNREACHABLE where it takes longer.
    """
    chosen = list(journal.entries() if entries is None else entries)
    told = {entry.name: remembered(entry) for entry in chosen if entry.last_state is not None}
    told |= _asked([entry for entry in chosen if entry.name not in told], journal, place_s)
    late = f"{{}} did not answer within {place_s:g} s"
    return tuple(
        told.get(entry.name)
        or JobStatus(entry, Seen(JobState.UNREACHABLE), late.format(cluster_of(entry.platform, entry.connection)))
        for entry in chosen
    )


def _asked(entries: Iterable[Entry], journal: Journal, place_s: float) -> Mapping[str, JobStatus]:
    """Ask about jobs at all of their places at once; those that no answer comes for are left out."""
    places: dict[tuple[str, ...], SimpleQueue[Entry]] = defaultdict(SimpleQueue)
    count = 0
    for entry in entries:
        place = place_of(entry.platform, entry.connection)
        places[(entry.platform, *map(str, place.values()))].put(entry)
        count += 1
    answers: SimpleQueue[JobStatus] = SimpleQueue()
    over = threading.Event()

    def ask(waiting: SimpleQueue[Entry]) -> None:
        ABANDONED.set(over)  # nobody waits for an answer that is late
        while not over.is_set():
            try:
                entry = waiting.get_nowait()
            except Empty:
                return
            answers.put(status(entry, journal))

    end = time.monotonic() + place_s
    for waiting in places.values():
        for _ in range(min(_AT_ONCE, waiting.qsize())):
            # Daemons: a place that does not answer must not keep the command from ending.
            threading.Thread(target=ask, args=(waiting,), daemon=True, name="look").start()
    told: dict[str, JobStatus] = {}
    try:
        while len(told) < count:
            answer = answers.get(timeout=max(0.0, end - time.monotonic()))
            told[answer.entry.name] = answer
    except Empty:
        pass  # the others are late
    finally:
        over.set()
    return told
