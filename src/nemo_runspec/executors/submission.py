"""From a request to a submitted job: one create call, with a record of it before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.errors import DeniedError, GoneError, RefusedError
from nemo_runspec.executors.connection import connect, kept
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.platforms.abandoning import AbandonedError
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.names import new_token, workload_name
from nemo_runspec.platforms.workload import job_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.workload import Platform, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends a job, and what is remembered of it.

    Args:
        connection: How the platform is reached.
        journal: Where the record is kept.
        home: As in `CloudJob`.
        experiment: nemo-run's experiment, where there is one.
        job_dir: The job's folder on this machine, where there is one.
    """

    connection: Mapping[str, str]
    journal: Journal
    home: str
    experiment: str = ""
    job_dir: str = ""


def send(request: Request, title: str, sender: Sender, *, platform: Platform | None = None) -> Entry:
    """Send a job, under a name that no other job has.

    A record is written before the call, so that a job is known even where this process is killed before the answer
    comes, or the answer never does.

    Args:
        request: The job's create call.
        title: What the job is called; its name begins with it.
        sender: How it is sent, and where it is recorded.
        platform: The platform's client, where there is one already.

    Raises:
        PlatformError: The platform refuses the job, or cannot be reached; in the second case the record stays.
    """
    client = platform or connect(request.platform, sender.connection)
    name = workload_name(title, new_token(), LIMITS[request.platform])
    entry = Entry(
        platform=request.platform,
        kind=request.kind,
        name=name,
        title=title,
        experiment=sender.experiment,
        job_dir=sender.job_dir,
        pod_job_dir=job_folder(sender.home, name),
        digest=request.digest,
        connection=kept(sender.connection, client),
    )
    sender.journal.write(entry)
    try:
        submitted = client.submit(request, name)
    except (DeniedError, RefusedError, GoneError, AbandonedError):
        # An answer, and it is no: there is no job to remember.
        sender.journal.forget(name)
        raise
    accepted = entry.accepted(submitted)
    sender.journal.write(accepted)
    return accepted
