"""Run a recipe on a platform: in the pods of a cloud, on a cluster, or in containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.context import Mode
from nemo_runspec.submit.job_files import check_sources, chosen_sources
from nemo_runspec.submit.platform import execute_on_platform
from nemotron.cli import show, show_platform
from nemotron.cli.stages.rehearse import rehearse_job

if TYPE_CHECKING:
    from nemo_runspec.job import Job


def run_on_platform(job: Job) -> None:
    """Submit a job to its platform, or to a cloud's twin, as its command line asks.

    Raises:
        ProfileError: Something keeps the job from starting.
        PayloadError: `--committed-only`, and something that travels is not committed.
        JobFailedError: The job failed.
    """
    for obstacle in job.obstacles:
        raise obstacle
    show_platform.before_sending(check_sources(job), chosen_sources(job))
    if job.request.rehearse:
        rehearse_job(job)
    elif job.request.mode is Mode.BATCH:
        execute_on_platform(job, detach=True, accepted=lambda workload, _: show.submitted(job, workload))
    else:
        execute_on_platform(job)
