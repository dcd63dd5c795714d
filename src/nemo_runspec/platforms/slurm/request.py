"""From a Slurm job to the request that is sent: its script and its files, with their digests as the body."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.contents import SECRETS_FILE, export_lines
from nemo_runspec.platforms.slurm.script import BATCH_SCRIPT, TASK_SCRIPT, job_problems, sbatch_text
from nemo_runspec.platforms.slurm.values import variables_problems
from nemo_runspec.platforms.workload import JobFiles, Request
from nemo_runspec.toml.source import Problem, raise_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.platforms.slurm.job import SlurmJob
    from nemo_runspec.platforms.workload import Tree

PLATFORM: Final = "slurm"
KIND: Final = "job"

SBATCH_FILE: Final = "job.sbatch"
"""The script, in the job's folder."""

ENVIRONMENT_FILE: Final = "environment.sh"
"""The variables, as bash reads them."""

DEPENDENTS_FILE: Final = "dependents"
"""Slurm's numbers of the jobs that wait for this one, one on each line."""

_REMOTE: Final = Path(__file__).with_name("remote")


def request(
    job: SlurmJob,
    *,
    files: JobFiles,
    env: Mapping[str, str],
    secrets: Mapping[str, str] = MappingProxyType({}),
    source: Tree | None = None,
    after: tuple[str, ...] = (),
) -> Request:
    """Build the request of a job: pure, the same for a dry-run and a submission.

    Args:
        job: The job.
        files: What lies in its folder, the launch scripts of its tasks among them.
        env: Variables with exact values; a value may hold `platforms.workload.NAME`.
        secrets: Variables whose values are secret: a file of their own, and no part of the body.
        source: The source that travels, or None for none.
        after: Slurm's numbers of jobs that have to succeed first.

    Raises:
        ProfileError: Some value cannot arrive as it is written; all that is wrong is told at once.
    """
    problems = (*job_problems(job), *_request_problems(job, files, env, secrets, after))
    raise_problems((Problem(message) for message in problems), ProfileError, summary="this job for Slurm")
    text = sbatch_text(job, has_secrets=bool(secrets))
    everything = {
        **files,
        SBATCH_FILE: (text.encode(), False),
        ENVIRONMENT_FILE: (export_lines(sorted(env.items())).encode(), False),
        **{name: ((_REMOTE / name).read_bytes(), False) for name in (BATCH_SCRIPT, TASK_SCRIPT)},
    }
    body = {
        "sbatch": text,
        "home": job.home,
        "files": {path: hashlib.sha256(content).hexdigest() for path, (content, _) in sorted(everything.items())},
        "environment": dict(sorted(env.items())),
        "source": source.sha256 if source else None,
    }
    return Request(
        PLATFORM,
        KIND,
        body,
        files=MappingProxyType(everything),
        secrets=tuple(sorted(secrets.items())),
        source=source,
        after=after,
    )


def _request_problems(
    job: SlurmJob, files: JobFiles, env: Mapping[str, str], secrets: Mapping[str, str], after: tuple[str, ...]
) -> Iterator[str]:
    yield from variables_problems([*env.items(), *secrets.items()])
    own = (SBATCH_FILE, ENVIRONMENT_FILE, SECRETS_FILE, DEPENDENTS_FILE, BATCH_SCRIPT, TASK_SCRIPT)
    yield from (f"the job's file '{name}' is this library's own" for name in own if name in files)
    missing = sorted({task.launch for task in job.tasks} - files.keys())
    yield from (f"the job has no file '{name}', which one of its tasks runs" for name in missing)
    if after and any(flag == "dependency" for flag, _ in job.options):
        yield "the sbatch flag '--dependency' cannot be set for a job that waits for another one of its pipeline"
