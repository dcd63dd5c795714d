"""From a request to a submitted job: one create call, with a record of it before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import DeniedError, GoneError, NothingSentError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.executors.connection import connect, kept, place_of
from nemo_runspec.executors.fault_points import reach
from nemo_runspec.executors.journal import Entry, Journal, fingerprint_of
from nemo_runspec.executors.once import CLAIM_S, WISH, Claimed, claim, tell
from nemo_runspec.platforms.abandoning import AbandonedError, pause, refuse_if_abandoned
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.names import new_token, workload_name
from nemo_runspec.platforms.workload import job_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.workload import Platform, Request, Submitted

_CONFLICT: Final = 409
_LOOKS: Final = 30
_LOOK_S: Final = 2.0
"""A platform whose list lags behind says that a name is taken before it shows by what: looked for so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends a job, and what is remembered of it.

    Args:
        connection: How the platform is reached.
        journal: Where the record is kept.
        home: As in `CloudJob`.
        experiment: nemo-run's experiment, where there is one.
        job_dir: The job's folder on this machine, where there is one.
        nodes: How many nodes the job asks for; 0 where that is not known.
    """

    connection: Mapping[str, str]
    journal: Journal
    home: str
    experiment: str = ""
    job_dir: str = ""
    nodes: int = 0


def send(request: Request, title: str, sender: Sender, *, platform: Platform | None = None) -> Entry:
    """Send a job once, under a name that no other job has; see `nemo_runspec.executors.once.Wish` for who wants more.

    A record is written before the call, so that a job is known even where this process is killed before the answer
    comes, or the answer never does.

    Args:
        request: The job's create call.
        title: What the job is called; its name begins with it.
        sender: How it is sent, and where it is recorded.
        platform: The platform's client, where there is one already.

    Returns:
        The job's record; that of an earlier submission of the same job where there is one to go on with.

    Raises:
        PlatformError: The platform refuses the job, or cannot be reached; in the second case the record stays, unless
            nothing was sent.
    """
    client = platform or connect(request.platform, sender.connection)
    wish = WISH.get()
    intent = _intent(request, title, sender, client)
    with claim(sender.journal, intent.fingerprint, client, wish) as claimed:
        if claimed.adopted is not None:
            wish.say(f"{claimed.adopted.name}: the same job was submitted before, and is not submitted again")
            entry = claimed.adopted
        else:
            entry = _sent(request, _named(intent, claimed, sender), sender.journal, client, claimed)
        if not wish.tells:
            tell(sender.journal, entry.name, lambda: None)
    return entry


def _intent(request: Request, title: str, sender: Sender, client: Platform) -> Entry:
    connection = kept(request.platform, sender.connection, client)
    name = workload_name(title, new_token(), LIMITS.get(request.platform))
    return Entry(
        platform=request.platform,
        kind=request.kind,
        name=name,
        title=title,
        experiment=sender.experiment,
        job_dir=sender.job_dir,
        pod_job_dir=_folder(request.platform, sender, name),
        digest=request.digest,
        connection=connection,
        fingerprint=fingerprint_of(request.platform, place_of(request.platform, connection), title, request.digest),
        profile=sender.connection.get("profile", ""),
        nodes=sender.nodes,
    )


def _folder(platform: str, sender: Sender, name: str) -> str:
    """Give the job's folder where it runs; on this machine there is only the one that it has been given."""
    return sender.job_dir if platform == "local" else job_folder(sender.home, name)


def _named(intent: Entry, claimed: Claimed, sender: Sender) -> Entry:
    """Give what an earlier submission was to be called to the job that takes its place."""
    if claimed.resumed is None:
        return intent
    name = claimed.resumed.name
    return replace(intent, name=name, pod_job_dir=_folder(intent.platform, sender, name))


def _sent(request: Request, entry: Entry, journal: Journal, client: Platform, claimed: Claimed) -> Entry:
    """Send a job, while everybody can see that it is being sent: that takes minutes where its source is large."""
    if claimed.resumed is None and not WISH.get().new:
        return _recorded(request, entry, journal, client, claimed)  # the lock of the claim tells it
    with journal.sending(entry.name, deadline_s=CLAIM_S, sleep=_pause):
        there = journal.find(entry.name)
        if there is not None and there.confirmed:
            return there  # it was being sent when it was taken for one that was not
        return _recorded(request, entry, journal, client, claimed)


def _pause(seconds: float) -> None:
    refuse_if_abandoned()
    pause(seconds)


def _recorded(request: Request, entry: Entry, journal: Journal, client: Platform, claimed: Claimed) -> Entry:
    reach("before-intent")
    journal.write(entry)
    reach("intent-written")
    try:
        reach("before-call")
        submitted = _submitted(request, entry.name, client, is_again=claimed.resumed is not None)
    except (DeniedError, RefusedError, GoneError, AbandonedError, NothingSentError):
        # An answer, and it is no, or nobody was asked: there is no job to remember. Unless it was sent before, and may
        # arrive late.
        if claimed.resumed is None:
            journal.forget(entry.name)
        raise
    reach("after-call")
    accepted = entry.accepted(submitted)
    journal.write(accepted)
    reach("recorded")
    return accepted


def _submitted(request: Request, name: str, client: Platform, *, is_again: bool) -> Submitted:
    """Submit a job; that a name which only this job has is taken means that it was made."""
    try:
        return client.submit(request, name)
    except RefusedError as error:
        if not is_again or error.status != _CONFLICT:
            raise
        refusal = error
    for _ in range(_LOOKS):
        found = _looked_up(request.kind, name, client)
        if found is not None:
            return found
        pause(_LOOK_S)
    message = f"'{name}' exists and cannot be looked up: {refusal.message}"
    raise UnreachableError(message, status=refusal.status, remedy="Run the same command again later.")


def _looked_up(kind: str, name: str, client: Platform) -> Submitted | None:
    try:
        return client.find(kind, name)
    except AbandonedError:
        raise
    except PlatformError as error:
        message = f"'{name}' exists and cannot be looked up: {error.message}"
        raise UnreachableError(message, status=error.status, remedy="Run the same command again later.") from error
