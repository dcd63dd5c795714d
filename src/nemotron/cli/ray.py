"""`nemotron ray`: Ray clusters on Lepton that outlive a job."""

from __future__ import annotations

import json as json_text
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nemo_runspec.errors import JobFailedError, UsageError
from nemo_runspec.executors.follow import Follower, printable
from nemo_runspec.platforms.workload import JobState
from nemo_runspec.recipe_typer import HELP_SETTINGS, complete_profiles
from nemo_runspec.submit import ray_clusters
from nemotron.cli.ages import age_text, seconds_of

if TYPE_CHECKING:
    from nemo_runspec.platforms.lepton_ray import LeptonRayClient
    from nemo_runspec.platforms.workload import Submitted
    from nemo_runspec.submit.ray_clusters import RayCluster

app = typer.Typer(
    help="Make, list, use and end Ray clusters on Lepton that outlive a job.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=HELP_SETTINGS,
)

_COLUMNS: Final = ("NAME", "STATE", "WORKERS", "RAY", "AGE", "JOBS", "ENDS IN")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The cluster.")]
ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="Profile of the workspace.", autocompletion=complete_profiles)
]
TtlOption = Annotated[
    str | None,
    typer.Option("--ttl", metavar="AGE", help="How long it may live: 90m, 12h, 2d. Its head suspends it then."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("up")
def up_command(
    name: NameArgument,
    *,
    profile: ProfileOption = "lepton",
    nodes: Annotated[int | None, typer.Option("--nodes", min=1, help="How many nodes; the profile's number.")] = None,
    ttl: TtlOption = None,
    json: JsonOption = False,
) -> None:
    """Make a cluster, and wait until it is ready."""
    found = ray_clusters.up(
        ray_clusters.lepton_profile(profile),
        name,
        nodes=nodes,
        ttl_s=None if ttl is None else seconds_of("--ttl", ttl),
        say=_say,
    )
    _show(found, as_json=json)


@app.command("list")
def list_command(*, profile: ProfileOption = "lepton", json: JsonOption = False) -> None:
    """List the clusters of the workspace, with what runs on them."""
    found = ray_clusters.listed(ray_clusters.client_of(ray_clusters.lepton_profile(profile).name))
    if json:
        _print_json({"clusters": [one.as_data() for one in found]})
        return
    if not found:
        typer.echo("the workspace has no Ray clusters")
        return
    rows = [_COLUMNS, *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        typer.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


@app.command("attach")
def attach_command(
    name: NameArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND]", help="Run it on the head.")] = None,
    *,
    profile: ProfileOption = "lepton",
    job: Annotated[str | None, typer.Option("--job", help="Follow this job of the cluster.")] = None,
    ttl: TtlOption = None,
    json: JsonOption = False,
) -> None:
    """Have a cluster ready, also a suspended one; run a command on it, or follow a job that runs there."""
    if command and job:
        message = "--job follows a job that is there, and a command is a new one"
        raise UsageError(message, remedy="Give one of them.")
    client, found = ray_clusters.attach(
        ray_clusters.lepton_profile(profile),
        name,
        ttl_s=None if ttl is None else seconds_of("--ttl", ttl),
        say=_say,
    )
    if command or job:
        workload = ray_clusters.run_on(client, name, command) if command else ray_clusters.job_on(name, job or "")
        _follow(client, workload)
    else:
        _show(found, as_json=json)


@app.command("down")
def down_command(
    name: NameArgument,
    *,
    profile: ProfileOption = "lepton",
    delete: Annotated[bool, typer.Option("--delete", help="Remove its record, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Suspend a cluster, which `attach` starts again, or delete it."""
    ray_clusters.down(ray_clusters.lepton_profile(profile).name, name, delete=delete)
    done = "deleted" if delete else "suspended"
    if json:
        _print_json({"name": name, "done": done})
    else:
        typer.echo(f"{name} is {done}")


def _follow(client: LeptonRayClient, workload: Submitted) -> None:
    """Show a job's output, and end with its exit code; Ctrl-C leaves it to go on."""
    _say(f"{workload.name} on {workload.id.partition('/')[0]}; Ctrl-C leaves it to go on")
    follower = Follower(client, workload, show=lambda _, line: typer.echo(printable(line)), say=_say)
    ending = follower.run()
    if ending.state is JobState.SUCCEEDED:
        return
    code = ending.seen.exit_code or (143 if ending.state is JobState.CANCELLED else 1)
    message = f"{workload.name} is {ending.state.value}, exit code {code}"
    raise JobFailedError(message, exit_code=code)


def _show(found: RayCluster, *, as_json: bool) -> None:
    if as_json:
        _print_json(found.as_data())
        return
    name = found.cluster.name
    typer.secho(name, bold=True)
    typer.echo(f"  state     {found.cluster.state}, {found.cluster.ready} of {found.cluster.wanted} workers")
    typer.echo(f"  ends      {_ends(found) or 'never by itself'}")
    typer.echo(f'  a job     existing_ray_cluster = "{name}" in the profile, or run.env.existing_ray_cluster={name}')
    typer.echo(f"  a command nemotron ray attach {name} -- COMMAND")


def _row(found: RayCluster) -> tuple[str, ...]:
    one = found.cluster
    age = age_text(time.time() - one.created_s) if one.created_s else "-"
    jobs = "-" if found.running is None else str(found.running)
    return (one.name, one.state, f"{one.ready}/{one.wanted}", one.ray_version or "-", age, jobs, _ends(found) or "-")


def _ends(found: RayCluster) -> str:
    return "" if found.until_s is None else age_text(max(0.0, found.until_s - time.time()))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_json(document: dict[str, object]) -> None:
    sys.stdout.write(f"{json_text.dumps(document)}\n")
    sys.stdout.flush()
