"""What a user calls a job, and the record that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import UsageError, guess
from nemo_runspec.executors.connection import cluster_of
from nemo_runspec.executors.journal import Journal, nemo_run_home

if TYPE_CHECKING:
    from nemo_runspec.executors.journal import Entry

_SHORT_ID: Final = 8
"""From so many characters on, the beginning of a long identifier means it, as with Docker."""
_MOST_SHOWN: Final = 20


def own_journal() -> Journal:
    """Give the journal of this user, below nemo-run's home."""
    return Journal(nemo_run_home())


def find_job(reference: str, journal: Journal) -> Entry:
    """Find the job that is meant.

    Args:
        reference: Its key, the beginning of its key, its identifier on its platform, or `CLUSTER:ID` or `PROFILE:ID`.
        journal: Where jobs are recorded.

    Raises:
        UsageError: There is none, or it may mean several.
        NemotronError: Its record cannot be read.
    """
    exact = journal.find(reference)
    if exact is not None:
        return exact
    entries = list(journal.entries())
    found = [entry for entry in entries if _is_meant(reference, entry)]
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"no job '{reference}' was submitted from here"
        remedy = f"{guess(reference, [entry.name for entry in entries[:_MOST_SHOWN]], what='jobs')}"
        raise UsageError(message, remedy=f"{remedy} `nemotron jobs list` shows all.")
    lines = "\n".join(f"    {entry.name}   {_place(entry)}" for entry in found[:_MOST_SHOWN])
    more = f"\n    and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    message = f"'{reference}' may mean {len(found)} jobs:\n{lines}{more}"
    raise UsageError(message, remedy="Give the key, or CLUSTER:ID.")


def _is_meant(reference: str, entry: Entry) -> bool:
    if entry.name.startswith(reference) or _is_id(reference, entry.id):
        return bool(reference)
    places = {cluster_of(entry.platform, entry.connection), entry.profile}
    return any(
        place and reference.startswith(f"{place}:") and _is_id(reference.removeprefix(f"{place}:"), entry.id)
        for place in places
    )


def _is_id(text: str, identifier: str) -> bool:
    return bool(text) and (text == identifier or (len(text) >= _SHORT_ID and identifier.startswith(text)))


def _place(entry: Entry) -> str:
    place = f"{cluster_of(entry.platform, entry.connection) or entry.platform}:{entry.id or '-'}"
    return f"{place}   {entry.state or 'may go on'}"
