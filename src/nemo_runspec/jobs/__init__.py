"""The jobs that were submitted from here: listing them, looking at one, its output, its end, and what it has left.

All of it works from another shell and after a reboot, because it starts from the journal. What cannot be seen is never
taken for failed, and nothing is ever stopped or removed because of it.
"""

from __future__ import annotations

from nemo_runspec.jobs.ending import cancel, reattach
from nemo_runspec.jobs.looking import JobStatus, list_jobs, not_confirmed, status
from nemo_runspec.jobs.output import LogLine, logs, redactor_of
from nemo_runspec.jobs.pruning import Pruned, prune
from nemo_runspec.jobs.references import find_job, own_journal

__all__ = [
    "JobStatus",
    "LogLine",
    "Pruned",
    "cancel",
    "find_job",
    "list_jobs",
    "logs",
    "not_confirmed",
    "own_journal",
    "prune",
    "reattach",
    "redactor_of",
    "status",
]
