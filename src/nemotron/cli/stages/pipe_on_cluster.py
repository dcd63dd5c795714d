"""Run a family's stages as jobs of a cluster, each of which waits there for the one before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from nemo_runspec.context import Mode
from nemo_runspec.step import read_report
from nemotron.cli import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.job import Job
    from nemo_runspec.pipeline import Plan
    from nemo_runspec.platforms.workload import Submitted
    from nemo_runspec.step import StepReport


def run_on_cluster(checked: Plan) -> Iterator[StepReport]:
    """Submit every stage at once; follow them one after the other, unless `--batch`.

    Args:
        checked: The stages.

    Yields:
        Each stage's report as it ends.
    """
    from nemo_runspec.submit.chain import follow_chain, submit_chain  # noqa: PLC0415 - only a cluster needs its client

    if checked.requests[0].mode is Mode.BATCH:
        submit_chain(checked.jobs, show.submitted)
        return
    sent = submit_chain(checked.jobs, _waits)
    steps = checked.steps
    begin = time.monotonic()
    stages = follow_chain(sent, lambda index: show.step_header(steps[index], index + 1, len(steps)))
    for step, one in zip(steps, stages, strict=True):
        end = time.monotonic()
        yield read_report(step, one.job.job_dir, end - begin)
        begin = end


def _waits(job: Job, workload: Submitted) -> None:
    typer.echo(f"{job.spec.name} is {workload.name}, Slurm job {workload.id}", err=True)
