"""Run a recipe in the pods of a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.context import Mode
from nemo_runspec.submit.job_files import check_sources, chosen_sources
from nemo_runspec.submit.platform import execute_on_platform
from nemotron.cli import show_cloud
from nemotron.cli.stages.rehearse import rehearse_job

if TYPE_CHECKING:
    from nemo_runspec.job import Job


def run_in_pods(job: Job) -> None:
    """Submit a job to its cloud, or to the cloud's twin, as its command line asks.

    Raises:
        ProfileError: Something keeps the job from starting.
        PayloadError: `--committed-only`, and something that travels is not committed.
        JobFailedError: The job failed.
    """
    for obstacle in job.obstacles:
        raise obstacle
    show_cloud.before_sending(check_sources(job), chosen_sources(job))
    if job.request.rehearse:
        rehearse_job(job)
    elif job.request.mode is Mode.BATCH:
        execute_on_platform(job, detach=True)
        show_cloud.submitted(job)
    else:
        execute_on_platform(job)
