"""`nemotron jobs`: the jobs that were submitted from here, from any shell and after a reboot."""

from __future__ import annotations

import json as json_text
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nemo_runspec import jobs
from nemo_runspec.errors import NemotronError, UnreachableError, UsageError
from nemo_runspec.executors.follow import printable
from nemo_runspec.platforms.workload import JobState
from nemo_runspec.recipe_typer import HELP_SETTINGS, complete_profiles
from nemotron.cli.ages import age_text, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.jobs import JobStatus

app = typer.Typer(
    help="List, look at, follow and end the jobs that were submitted from here.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=HELP_SETTINGS,
)

DEFAULT_AGE: Final = "30d"
_COLUMNS: Final = ("KEY", "PROFILE", "CLUSTER:ID", "STATE", "AGE", "TITLE")
_LONGEST_ID: Final = 40


def _complete_jobs(incomplete: str) -> list[str]:
    try:
        return [entry.name for entry in jobs.own_journal().entries() if entry.name.startswith(incomplete)]
    except (NemotronError, OSError):
        return []  # a completion says nothing


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="Key, its beginning, CLUSTER:ID, PROFILE:ID or ID.", autocompletion=_complete_jobs
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
LinesOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for each line.")]


@app.command("list")
def list_command(
    *,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="Only this profile's.", autocompletion=complete_profiles),
    ] = None,
    active: Annotated[bool, typer.Option("--active", help="Only those that have not ended.")] = False,
    within: Annotated[
        float, typer.Option("--within", metavar="SECONDS", min=0.1, help="How long each place may take to answer.")
    ] = 5.0,
    json: JsonOption = False,
) -> None:
    """List the jobs, the newest first, with how they stand."""
    journal = jobs.own_journal()
    entries = [entry for entry in journal.entries() if profile is None or entry.profile == profile]
    if active:
        entries = [entry for entry in entries if entry.last_state is None]
    found = [
        job for job in jobs.list_jobs(journal, entries, place_s=within) if not (active and job.seen.state.is_final)
    ]
    if json:
        _print_json({"jobs": [job.as_data() for job in found]})
        return
    if not found:
        known = sum(1 for _ in journal.entries())
        nothing = f"no jobs were submitted from here: {journal.folder} has none"
        typer.echo(f"no such job among {known}; all of them: nemotron jobs list" if known else nothing)
        return
    _table(found)
    for why in dict.fromkeys(f"{job.entry.name}: {job.why}" for job in found if job.why):
        typer.echo(why, err=True)


@app.command("status")
def status_command(job: JobArgument, *, json: JsonOption = False) -> None:
    """Tell how a job stands; ends with 1 where that cannot be told."""
    journal = jobs.own_journal()
    found = jobs.status(jobs.find_job(job, journal), journal)
    _show(found, as_json=json)
    if found.seen.state is JobState.UNREACHABLE:
        raise typer.Exit(UnreachableError.exit_code)


@app.command("logs")
def logs_command(
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    json: LinesOption = False,
) -> None:
    """Show what a job has printed, from its beginning; after its end too."""
    journal = jobs.own_journal()
    entry = jobs.find_job(job, journal)
    redactor = jobs.redactor_of(entry)
    for line in jobs.logs(_asked(entry), follow=follow):
        clean = replace(line, line=redactor.text(line.line))
        if json:
            _print_json(clean.as_data())
        else:
            typer.echo(printable(f"[{clean.short}] {clean.line}" if entry.nodes != 1 else clean.line))


@app.command("cancel")
def cancel_command(job: JobArgument, *, json: JsonOption = False) -> None:
    """Stop a job; one that has ended keeps the end that it had."""
    journal = jobs.own_journal()
    _show(jobs.cancel(jobs.find_job(job, journal), journal), as_json=json)


@app.command("reattach")
def reattach_command(
    job: JobArgument,
    *,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C stops the job, instead of leaving it to go on.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show a job's output from its beginning, stay until it ends, and end with its exit code."""
    journal = jobs.own_journal()
    entry = jobs.find_job(job, journal)
    ended = jobs.reattach(
        entry,
        journal,
        jobs.redactor_of(entry),
        say=lambda text: typer.echo(text, err=True),
        cancel_on_interrupt=cancel_on_interrupt,
    )
    if json:
        _print_json(ended.as_data())


@app.command("prune")
def prune_command(
    *,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only jobs that ended so long ago: 12h, 30d, 8w.")
    ] = DEFAULT_AGE,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Show what would be removed, and stop.")] = False,
    json: JsonOption = False,
) -> None:
    """Forget jobs that ended long ago, with what they have left on their platforms; results stay."""
    done = jobs.prune(jobs.own_journal(), older_than_s=seconds_of("--older-than", older_than), dry_run=dry_run)
    if json:
        _print_json({"dry_run": dry_run, "jobs": [one.as_data() for one in done]})
        return
    for one in done:
        name, state = one.job.entry.name, one.job.seen.state.value
        if one.removed:
            typer.echo(f"{'would remove' if dry_run else 'removed'} {name} ({state})")
        else:
            typer.echo(f"kept {name}: {one.why}")
    if not done:
        typer.echo(f"no job is older than {older_than}")


def _asked(entry: Entry) -> Entry:
    """Give the record of a job with its platform's identifier, where that has only to be asked for.

    Raises:
        UsageError: The job never reached its platform.
        UnreachableError: It is still being submitted, or whether it has arrived cannot be asked.
    """
    if entry.confirmed:
        return entry
    now = jobs.status(entry, jobs.own_journal())
    if now.seen.state is JobState.LOST:
        message = f"'{entry.name}' has no output: {now.seen.word}"
        raise UsageError(message, remedy="Run the command that submitted it again.")
    if not now.entry.confirmed:
        raise jobs.not_confirmed(now)
    return now.entry


def _show(job: JobStatus, *, as_json: bool) -> None:
    if as_json:
        _print_json(job.as_data())
        return
    entry, seen = job.entry, job.seen
    word = f" ({seen.word})" if seen.word and seen.word.lower() != seen.state.value else ""
    rows = {
        "state": f"{seen.state.value}{word}",
        "exit code": "" if seen.exit_code is None else str(seen.exit_code),
        "because": seen.cause.value if seen.cause else "",
        "started again": f"{seen.attempt} times" if seen.attempt else "",
        "not known": job.why if seen.state is JobState.UNREACHABLE else "",
        "title": entry.title,
        "profile": entry.profile,
        "platform": f"{entry.platform}, {job.cluster}",
        "id": entry.id or "not known: the platform has not confirmed it",
        "nodes": str(entry.nodes or ""),
        "submitted": f"{entry.created}, {age_text(job.age_s)} ago",
        "ended": f"seen at {entry.ended}" if entry.ended else "",
        "job folder": entry.pod_job_dir or entry.job_dir,
    }
    typer.secho(entry.name, bold=True)
    for name, text in rows.items():
        if text:
            typer.echo(f"  {name:<14}{text}")


def _table(found: Iterable[JobStatus]) -> None:
    rows = [_COLUMNS, *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        typer.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _row(job: JobStatus) -> tuple[str, ...]:
    entry, seen = job.entry, job.seen
    identifier = entry.id if entry.id and entry.id != entry.name else "-"
    code = f" {seen.exit_code}" if seen.exit_code else ""
    place = f"{job.cluster}:{identifier}"
    short = place if len(place) <= _LONGEST_ID else f"{place[: _LONGEST_ID - 1]}…"
    profile = f"{entry.profile or '-'} ({entry.platform})"
    return (entry.name, profile, short, f"{seen.state.value}{code}", age_text(job.age_s), entry.title)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(f"{json_text.dumps(document)}\n")
    sys.stdout.flush()
