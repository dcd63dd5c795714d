"""Run one recipe script: build its job, then show it or start it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import parse_reference
from nemo_runspec.context import Mode
from nemo_runspec.errors import ArtifactNotFoundError
from nemo_runspec.job import Job, compile_job
from nemo_runspec.submit.local import execute_local
from nemotron.cli import show
from nemotron.cli.checks import check_place, makers_named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.context import RecipeConfig


def run_script(request: RecipeConfig, script: Path, *, maker: Callable[[str], str | None] = lambda _: None) -> None:
    """Run a recipe as the command line asks: here, attached to a profile, or detached.

    Args:
        request: The command line.
        script: The recipe's script.
        maker: Gives the command that makes an artifact of a name, where one is known.

    Raises:
        ArtifactNotFoundError: The job reads an artifact that is not there.
    """
    job = compile_job(script, request, allow_missing=True)
    check_place(job)
    if request.dry_run:
        show.dry_run(job)
        return
    for reference, error in job.missing.items():
        command = maker(parse_reference(reference).name)
        raise ArtifactNotFoundError(error.message, remedy=f"Make it with: {command}" if command else error.remedy)
    with makers_named(job, maker):
        submit(job)


def submit(job: Job) -> None:
    """Start a job in the mode that its command line asked for."""
    if job.on_platform:
        from nemotron.cli.stages.platform import run_on_platform  # noqa: PLC0415 - only a platform needs its clients

        run_on_platform(job)
    elif job.request.mode is Mode.LOCAL:
        execute_local(job)
    else:
        from nemo_runspec.submit import experiment  # noqa: PLC0415 - only a profile needs nemo-run

        if job.request.mode is Mode.RUN:
            experiment.run_attached(job)
        else:
            experiment.run_detached(job, show.note, partial(show.submitted, job))
