"""What the command line shows of a job: before it starts, while a pipeline runs, and at its end."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from nemo_runspec.report import COLUMNS, cells
from nemo_runspec.submit.prepare import job_description, shown_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from nemo_runspec.job import Job
    from nemo_runspec.pipeline import Plan
    from nemo_runspec.platforms.workload import Submitted
    from nemo_runspec.step import Step, StepReport

INDENT = "  "
LONGEST_LINE = 100_000
NEWLINE = "\n"
DOCUMENT_END = "\n..."


def dry_run(job: Job) -> None:
    """Print the job that would start, as text or as one JSON object."""
    if job.request.as_json:
        typer.echo(json.dumps(_description(job), default=str))
    else:
        _print_job(job)


def dry_run_plan(plan: Plan) -> None:
    """Print every job of a pipeline, as text or as one JSON object."""
    if plan.jobs and plan.jobs[0].request.as_json:
        stages = [{"stage": step.name, **_description(job)} for step, job in zip(plan.steps, plan.jobs, strict=True)]
        typer.echo(json.dumps({"stages": stages}, default=str))
        return
    for number, (step, job) in enumerate(zip(plan.steps, plan.jobs, strict=True), 1):
        step_header(step, number, len(plan.jobs))
        _print_job(job)


def _description(job: Job) -> dict[str, Any]:
    if not job.on_platform:
        return job_description(job)
    return {**job_description(job), **_shown_by(job).submission(job)}


def _shown_by(job: Job) -> ModuleType:
    """Give what shows a platform's job; only such a job needs its clients."""
    return import_module("nemotron.cli.show_cloud" if job.in_pods else "nemotron.cli.show_platform")


def _print_job(job: Job) -> None:
    description = job_description(job)
    _heading(f"configuration of {job.spec.name}", str(job.config.path))
    for line, origin in annotated_yaml(description["config"], description["origins"]):
        typer.echo(f"{INDENT}{line}{_remark(origin)}")
    place = f"profile {job.profile.name}, executor {job.profile.executor}" if job.request.profile else "this machine"
    _heading("command", place)
    typer.echo(f"{INDENT}{shown_command(job)}")
    _heading("environment", "of each node, beside the platform's" if job.on_platform else "added to yours")
    for name, entry in description["env"].items():
        typer.echo(f"{INDENT}{name}={entry['value']}{_remark(entry['origin'])}")
    if job.inputs:
        note = ", looked up where the job runs" if job.deferred else ""
        _heading("artifacts", f"from {description['artifacts']['root']}{note}")
        for key, reference in description["artifacts"]["inputs"].items():
            typer.echo(f"{INDENT}{key}: {reference}")
    if job.on_platform:
        _shown_by(job).show_request(job)
    problems = (*job.missing.values(), *job.obstacles)
    if problems:
        _heading("not yet", "what the job would stop at")
        for problem in problems:
            typer.secho(f"{INDENT}{problem.message}", fg="yellow")
    typer.echo("\nDry run: nothing was started.")


def _remark(origin: str | None) -> str:
    return typer.style(f"   # {origin}", fg="cyan") if origin else ""


def _heading(title: str, note: str) -> None:
    typer.echo("\n" + typer.style(title, bold=True) + typer.style(f"   ({note})", dim=True))


def annotated_yaml(
    config: Mapping[str, Any], origins: Mapping[str, str], prefix: str = ""
) -> Iterator[tuple[str, str | None]]:
    """Give a configuration as YAML lines, each with the origin of its value where that is not the file itself.

    Args:
        config: Plain values.
        origins: Dotted key -> origin.
        prefix: The dotted key of `config` itself, with a dot behind it.
    """
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield f"{key}:", origins.get(path)
            yield from ((f"{INDENT}{line}", origin) for line, origin in annotated_yaml(value, origins, f"{path}."))
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=LONGEST_LINE, allow_unicode=True)
            yield f"{key}: {text.removesuffix(NEWLINE).removesuffix(DOCUMENT_END)}", origins.get(path)


def submitted(job: Job, workload: Submitted) -> None:
    """Tell where a detached job is and how to follow and end it."""
    place = f"to {job.profile.name} as {workload.kind} {workload.name}"
    typer.echo(f"{job.spec.name} was submitted {place}.")
    typer.echo(f"{INDENT}identifier  {workload.id}")
    commands = (("its state", "status"), ("its output", "logs"), ("follow it", "reattach"), ("end it", "cancel"))
    for label, command in commands:
        typer.echo(f"{INDENT}{label:<11} nemotron jobs {command} {workload.name}")


def note(text: str) -> None:
    """Tell something that is no output of a job's."""
    typer.echo(text, err=True)


def step_header(step: Step, number: int, total: int) -> None:
    """Print the line that begins a pipeline's stage."""
    Console().print(Rule(f"[bold]{number}/{total}  {step.name}[/bold]", align="left", style="green"))


def pipeline_report(reports: Sequence[StepReport], workspace: Path) -> None:
    """Print the table at a pipeline's end, and where the report is."""
    table = Table(*COLUMNS, box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[-1].overflow = "fold"
    for report in reports:
        table.add_row(*cells(report))
    console = Console()
    console.print(Rule("[bold]done[/bold]", align="left", style="green"))
    console.print(table)
    here = Path.cwd()
    folder = workspace.relative_to(here) if workspace.is_relative_to(here) else workspace
    typer.echo(f"\nreport: {folder / 'report.html'} and {folder / 'report.json'}")
