"""What the command line shows of a job on any platform: what would be sent, and where it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
import yaml

from nemo_runspec.env import SlurmProfile
from nemo_runspec.executors.slurm_request import repositories
from nemo_runspec.prepare.squash import image_file
from nemo_runspec.submit.job_files import chosen_sources, effective_profile
from nemo_runspec.submit.requests import request_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nemo_runspec.data_mover import Changes, Selection
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Request, Tree

INDENT = "  "
LONGEST_LINE = 100_000
SHOWN_FILES = 5
KILO = 1000


def size(count: int) -> str:
    """Give a number of bytes for people."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB"):
        if value >= KILO:
            value, unit = value / KILO, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def heading(title: str, note: str) -> None:
    """Print the line that begins a section."""
    typer.echo("\n" + typer.style(title, bold=True) + typer.style(f"   ({note})", dim=True))


def largest(files: Sequence[tuple[str, int]], count: int = SHOWN_FILES) -> list[tuple[str, int]]:
    """Give the largest of some files, from their names and sizes."""
    return sorted(files, key=lambda file: file[1], reverse=True)[:count]


def listed(names: Sequence[str]) -> str:
    """Give the first of some names, and how many more there are."""
    more = len(names) - SHOWN_FILES
    return ", ".join(names[:SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")


def sizes(files: Iterable[tuple[str, int]]) -> list[str]:
    """Give a line for each file, from its name and size."""
    return [f"{count:>10,}  {path}" for path, count in sorted(files)]


def source(tree: Tree, files: Mapping[str, int], chosen: Selection, changes: Changes, label: str) -> None:
    """Print what `nemotron source ls` tells of what is copied as it is.

    Args:
        tree: What travels.
        files: Name and size of each file.
        chosen: What it was chosen from.
        changes: What of it is not committed.
        label: For whom.
    """
    for line in sizes(files.items()):
        typer.echo(line)
    heading("what travels", label)
    typer.echo(f"{INDENT}{len(files)} files, {size(sum(files.values()))}, sha256 {tree.sha256}")
    typer.echo(f"{INDENT}largest: {', '.join(f'{path} {size(count)}' for path, count in largest(list(files.items())))}")
    notes(chosen, changes)


def notes(chosen: Selection, changes: Changes) -> None:
    """Print what is worth knowing of a selection: what is not committed, and what stays here."""
    if changes.modified:
        typer.echo(f"{INDENT}not committed: {listed(changes.modified)}")
    if changes.unknown:
        typer.echo(f"{INDENT}nobody knows whether it is committed: {changes.unknown}")
    if chosen.left_out:
        typer.echo(f"{INDENT}links that stay here: {listed(chosen.left_out)}")
    if chosen.unmatched:
        typer.echo(f"{INDENT}exclude matches nothing with: {listed(chosen.unmatched)}")


def before_sending(changed: Sequence[str], chosen: Selection) -> None:
    """Tell which files travel that are not committed, which links do not travel, and which globs match nothing."""
    notes = {
        "travels with changes that are not committed": changed,
        "links that stay here": chosen.left_out,
        "exclude matches nothing with": chosen.unmatched,
    }
    for note, names in notes.items():
        if names:
            typer.secho(f"{note}: {listed(names)}", fg="yellow", err=True)


def steps(job: Job) -> Iterator[str]:
    """Yield what a submission does on a cluster before the job is sent: what is there already is left as it is."""
    profile = effective_profile(job)
    if not isinstance(profile, SlurmProfile):
        return
    image = profile.image_of(None)
    if image is not None:
        wanted = image_file(image, profile.job_root)
        yield f"import {wanted.uri} to {wanted.path}" if wanted.uri else f"look for {wanted.path}"
    for repository in repositories(profile):
        yield f"clone {repository} below {profile.job_root}/clones, at the commit that its ref is"
    secrets = [variable.name for variable in job.env if variable.secret]
    if secrets:
        yield f"write {', '.join(secrets)} to a private file of the job, which is removed at its end"


def submission(job: Job) -> dict[str, Any]:
    """Give what is known of a job's submission before it is sent, secrets taken out."""
    request = request_of(job)
    return {
        "body_sha256": request.digest,
        "archive_sha256": request.source.sha256 if request.source else "",
        "before": list(steps(job)),
        "request": {"kind": request.kind, "body": _shown(request, job)},
    }


def _shown(request: Request, job: Job) -> Any:  # noqa: ANN401 - any JSON value
    return job.redactor.data(json.loads(json.dumps(request.body, default=dict)))


def show_request(job: Job) -> None:
    """Print what travels with a job, and what makes it."""
    request = request_of(job)
    sources = [(file.name, file.path.stat().st_size) for file in chosen_sources(job).files]
    heading("what travels", f"{len(sources)} source files, unpacked to {job.folder}/code")
    digest = request.source.sha256[:16] if request.source else ""
    typer.echo(f"{INDENT}source    {size(sum(count for _, count in sources))}, sha256 {digest}")
    typer.echo(f"{INDENT}largest   {', '.join(f'{path} {size(count)}' for path, count in largest(sources, 3))}")
    before = list(steps(job))
    if before:
        heading("before", "what is there already is left as it is")
        for step in before:
            typer.echo(f"{INDENT}{job.redactor.text(step)}")
    shown = _shown(request, job)
    heading("request", f"{request.kind}, sha256 {request.digest[:16]}")
    text = shown.pop("sbatch", "")
    if text:
        for line in text.splitlines():
            typer.echo(f"{INDENT}{line}".rstrip())
        heading("files", f"in {shown['home']}/jobs, a folder for each job")
    for line in yaml.safe_dump(shown, sort_keys=False, width=LONGEST_LINE, allow_unicode=True).splitlines():
        typer.echo(f"{INDENT}{line}")
