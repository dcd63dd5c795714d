"""Run a recipe in the pods of a cloud, or rehearse that on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nemo_runspec.context import Mode
from nemo_runspec.errors import JobFailedError, ProfileError
from nemo_runspec.executors.request import build_request
from nemo_runspec.paths import absolute
from nemo_runspec.submit.cloud import execute_cloud
from nemo_runspec.submit.pods import check_sources, cloud_job
from nemotron.cli import show_cloud

if TYPE_CHECKING:
    from nemo_runspec.job import Job

REHEARSALS = "output/rehearsal"


def run_in_pods(job: Job) -> None:
    """Submit a job to its cloud, or to the cloud's twin, as its command line asks.

    Raises:
        PayloadError: `--committed-only`, and something that travels is not committed.
        JobFailedError: The job failed.
    """
    show_cloud.modified(check_sources(job))
    if job.request.rehearse:
        rehearse_job(job)
    elif job.request.mode is Mode.BATCH:
        execute_cloud(job, detach=True)
        show_cloud.submitted(job)
    else:
        execute_cloud(job)


def rehearse_job(job: Job) -> None:
    """Run a job on this machine as its cloud would, and tell what that proves."""
    from nemo_runspec.rehearsal.session import rehearse  # noqa: PLC0415 - only a rehearsal needs a twin

    folder = absolute(f"{REHEARSALS}/{job.profile.name}", error=ProfileError)
    request, plan = build_request(cloud_job(job))
    failure: JobFailedError | None = None
    seconds: list[float] = []
    with rehearse(job.profile, folder=folder, with_master=job.request.with_master) as rehearsal:
        show_cloud.rehearsing(job, folder)
        try:
            execute_cloud(replace(job, profile=rehearsal.profile), accepted=lambda _, took_s: seconds.append(took_s))
        except JobFailedError as error:
            failure = error
        evidence = rehearsal.evidence()
    show_cloud.rehearsed(job, request, plan, evidence, submit_seconds=sum(seconds), failure=failure)
    if failure is not None:
        raise failure
