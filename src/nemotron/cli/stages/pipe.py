"""Run a family's stages one after the other, and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.context import Mode
from nemo_runspec.env import SlurmProfile
from nemo_runspec.errors import UsageError
from nemo_runspec.pipeline import plan, run_plan
from nemo_runspec.report import write_html, write_json
from nemotron.cli import show
from nemotron.cli.checks import check_place, check_ready
from nemotron.cli.stages.pipe_on_cluster import run_on_cluster
from nemotron.cli.stages.script import submit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.context import RecipeConfig
    from nemo_runspec.step import Step, StepReport


def run_pipeline(request: RecipeConfig, family: str, steps: Sequence[Step]) -> None:
    """Check every stage, then run them in order; the report is written after each one.

    Args:
        request: The command line.
        family: The model family, for the report's title.
        steps: The stages in order.

    Raises:
        UsageError: `--batch`, unless on Slurm: nothing would be left to start the second stage; or `--rehearse`.
        NemotronError: Something in any of the stages keeps it from starting; none is started then.
    """
    if request.rehearse:
        message = "a rehearsal shows what one submission does, and a pipeline is one for each stage"
        raise UsageError(message, remedy="Rehearse the stages one after the other: the twin's volumes stay.")
    checked = plan(steps, request)
    for job in checked.jobs:
        check_place(job)
    on_slurm = isinstance(checked.jobs[0].profile, SlurmProfile)
    if request.mode is Mode.BATCH and not on_slurm:
        message = "a pipeline runs attached: each stage waits for the artifact of the one before"
        raise UsageError(message, remedy="Use --run PROFILE, or start it in the background with your shell.")
    if request.dry_run:
        show.dry_run_plan(checked)
        return
    check_ready(checked)
    # What a pipeline reports stays here, also when its stages run elsewhere.
    workspace = checked.jobs[0].job_dir.parents[1]
    reports: list[StepReport] = []
    for report in run_on_cluster(checked) if on_slurm else run_plan(checked, submit, show.step_header):
        reports.append(report)
        write_json(reports, workspace / "report.json")
        write_html(f"nemotron {family} pipe", reports, workspace / "report.html")
    if reports:
        show.pipeline_report(reports, workspace)
