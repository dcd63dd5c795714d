"""The output of a job: what there is of it, or all that still comes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.env import load_env_profile
from nemo_runspec.env_vars import job_redactor
from nemo_runspec.errors import GoneError, NemotronError
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.follow import lines_of, short_name
from nemo_runspec.jobs.looking import JobStatus, not_confirmed
from nemo_runspec.platforms.workload import JobState, Seen
from nemo_runspec.redaction import Redactor, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.platforms.workload import Platform, Submitted

QUIET_S: Final = 2.0
"""Where output is not followed, it is at its end for now when it was silent for so long, in seconds."""

ALL_S: Final = 10.0
"""How long what there is may take to arrive, in seconds: of a job that is never silent, more than that is new."""

FIRST_LINE_S: Final = 15.0
"""How long the first line of it is waited for, in seconds."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a job has printed.

    Args:
        pod: The pod, task or container that it is from.
        short: What tells that from the others of the same job.
        line: The line, without its end.
    """

    pod: str
    short: str
    line: str

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data; the keys stay what they are."""
        return {"pod": self.pod, "line": self.line}


def logs(entry: Entry, *, follow: bool = False, first_s: float = FIRST_LINE_S) -> Iterator[LogLine]:
    """Yield what a job has printed, from its beginning; after its end too, as long as its platform keeps it.

    Args:
        entry: The job's record.
        follow: Go on until the job has ended, instead of until it is silent.
        first_s: How long the first line is waited for where it is not followed, in seconds.

    Raises:
        GoneError: The platform knows neither the job nor its output.
        PlatformError: It cannot be asked, or does not let us.
    """
    if not entry.confirmed:
        raise not_confirmed(JobStatus(entry, Seen(JobState.UNKNOWN), "its platform has not confirmed it"))
    platform = connect(entry.platform, entry.connection)
    workload = entry.submitted
    if platform.look(workload).state is JobState.LOST:
        yield from _what_is_left(platform, workload)
    else:
        limits = {} if follow else {"first_s": first_s, "quiet_s": QUIET_S, "all_s": ALL_S}
        for pod, line in lines_of(platform, workload, **limits):
            yield LogLine(pod, short_name(pod, workload.name), line)


def redactor_of(entry: Entry) -> Redactor:
    """Know the secrets of whoever looks at a job; those of its profile too, where it is still there.

    Args:
        entry: The job's record.
    """
    try:
        return job_redactor(load_env_profile(entry.profile))
    except NemotronError:
        return Redactor(value for name, value in os.environ.items() if is_secret_name(name))


def _what_is_left(platform: Platform, workload: Submitted) -> Iterator[LogLine]:
    pods = platform.pods(workload)
    if not pods:
        message = f"the platform does not know '{workload.name}' any more, and has kept nothing of its output"
        raise GoneError(message, remedy="Where a command has followed it, that has written a job.log.")
    for pod in pods:
        for line in platform.log(workload, pod):
            yield LogLine(pod, short_name(pod, workload.name), line)
