"""What is checked before a job, or the first one of a pipeline, starts."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import parse_reference
from nemo_runspec.errors import EXIT_USAGE, JobFailedError, PayloadError, UsageError
from nemo_runspec.stage.inputs import references
from nemo_runspec.submit.prepare import read_error
from nemo_runspec.submit.requests import planned
from nemotron.needs import packages_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemo_runspec.data_mover import Plan
    from nemo_runspec.job import Job
    from nemo_runspec.pipeline import Plan as Pipeline
    from nemo_runspec.platforms.workload import Request
    from nemo_runspec.rehearsal.report import Evidence


def check_place(job: Job) -> None:
    """Refuse a job to rehearse that needs no rehearsal.

    Raises:
        UsageError: The profile of a rehearsal is not a cloud's.
    """
    if job.request.rehearse and not job.in_pods:
        message = f"profile '{job.profile.name}' runs jobs with the executor '{job.profile.executor}', not on a cloud"
        raise UsageError(message, remedy="A rehearsal stands in for Lepton and DGX Cloud: leave --rehearse out.")


@contextmanager
def makers_named(job: Job, maker: Callable[[str], str | None]) -> Iterator[None]:
    """Say of a job that looks its artifacts up itself, and stopped before it began, which commands make them.

    Raises:
        JobFailedError: The body's own, with that remedy.
    """
    try:
        yield
    except JobFailedError as error:
        names = sorted({name for value in job.inputs.values() for name in map(_name_of, references(value))})
        commands = [command for name in names if (command := maker(name))]
        # An error that the script itself reports came after its artifacts were found.
        if not (job.deferred and commands and error.exit_code == EXIT_USAGE) or read_error(job.job_dir):
            raise
        where = f" --run {job.profile.name}{' --rehearse' if job.request.rehearse else ''}"
        made = ", ".join(f"{command}{where}" for command in commands)
        remedy = f"What it reads is made there with: {made}. {error.remedy or ''}"
        raise JobFailedError(error.message, exit_code=error.exit_code, remedy=remedy.strip()) from error


def _name_of(reference: str) -> str:
    return parse_reference(reference).name


def difference(job: Job, expected: tuple[Request, Plan], evidence: Evidence) -> PayloadError:
    """Give the error of a body that is not the dry-run's, with the files that have changed meanwhile."""
    request, plan = expected
    _, now = planned(job, pinned=True)
    changed = sorted({path for path, _ in set(plan.files) ^ set(now.files)})
    message = f"the twin received a body with sha256 {evidence.body_sha256}, and the dry-run has {request.digest}"
    if changed:
        return PayloadError(f"{message}: {', '.join(changed)} changed meanwhile", remedy="Rehearse again.")
    return PayloadError(message, remedy="Rehearse again; when no file that travels changes meanwhile, it is a defect.")


def check_ready(plan: Pipeline) -> None:
    """Refuse a plan that a later stage would stop at: a mistake in the last one must not be found after hours.

    Raises:
        ProfileError: Something keeps a stage from starting, such as a secret that is not set.
        DataError: A data blend on this machine cannot be read, or names data that is not there.
    """
    for obstacle in (obstacle for job in plan.jobs for obstacle in job.obstacles):
        raise obstacle
    # A cluster's files are its own: a stage looks there, and its failure cancels the stages that wait for it.
    here = (job for job in plan.jobs if job.profile.shares_files)
    blends = [blend for job in here if isinstance(blend := job.train_config.get("blend"), str)]
    if not blends:
        return
    with packages_needed("data preparation"):
        from nemotron.data_prep.blend import load_blend  # noqa: PLC0415 - pyarrow takes time to import
    for blend in blends:
        load_blend(Path(blend).expanduser())
