"""`nemotron source`: what of this machine's sources travels with a job."""

from __future__ import annotations

import json as json_text
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_runspec.data_mover import check_budget, modified_files, plan_for, select
from nemo_runspec.env import CloudProfile, load_env_profile
from nemo_runspec.errors import PayloadError, UsageError
from nemo_runspec.executors.source import Source
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import canonical
from nemo_runspec.recipe_typer import HELP_SETTINGS, complete_profiles
from nemotron.cli import show_cloud, show_platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.data_mover import Changes, Plan, Selection
    from nemo_runspec.env import Profile

app = typer.Typer(
    help="Show what travels with a job.", no_args_is_help=True, add_completion=False, context_settings=HELP_SETTINGS
)

DEFAULT_EXECUTOR = "lepton"
POD_HOME = "/mnt/volume"
"""Where a pod would unpack, when no profile tells; it changes no size."""


@app.callback()
def source() -> None:
    """Keep `ls` a command of its own, also while it is the only one."""


@app.command(
    "ls", help="List the files that travel with a job, their size, what is not committed, and whether all of it fits."
)
def list_command(
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SCRIPT]", help="The recipe's script; without one, what every job has.", show_default=False
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", "-r", metavar="PROFILE", help="Profile of env.toml.", autocompletion=complete_profiles),
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the files that travel with a job, their size, what is not committed, and whether all of it fits.

    Raises:
        PayloadError: It is more than the platform takes; it is listed all the same.
    """
    profile = load_env_profile(run) if run is not None else None
    if profile is not None and profile.executor == "local":
        message = f"profile '{profile.name}' uses the executor 'local', to which no sources are sent"
        raise UsageError(message, remedy="Name a profile of another executor.")
    if profile is not None and not isinstance(profile, CloudProfile):
        _list_tree(profile, script, as_json=json)
        return
    executor = profile.executor if profile else DEFAULT_EXECUTOR
    repo_root = profile.repo_root if profile else None
    exclude = profile.exclude if profile else ()
    chosen = select(script, repo_root, exclude)
    try:
        plan = plan_for(
            executor_type=executor,
            script_path=script,
            repo_root=repo_root,
            exclude=exclude,
            pod_nemotron_home=profile.job_root if profile else POD_HOME,
        )
    except PayloadError:  # out of all proportion, so that it is not even packed
        _show_unpacked(chosen, executor, as_json=json)
        raise
    changes = modified_files(chosen)
    excess = _excess(plan)
    if json:
        facts = {
            "raw_bytes": plan.raw_bytes,
            "archive_bytes": plan.archive_bytes,
            "encoded_bytes": plan.encoded_bytes,
            "archive_sha256": plan.sha256,
        }
        _print_json(executor, dict(plan.files), facts, chosen, changes, fits=excess is None)
    else:
        label = f"{profile.name}, {executor}" if profile else f"as on {executor}"
        show_cloud.source(plan, chosen, changes, label, fits=excess is None)
    if excess is not None:
        raise excess


def _list_tree(profile: Profile, script: Path | None, *, as_json: bool) -> None:
    """List what is copied to a cluster or a container as it is, so that it may be of any size."""
    chosen = select(script, profile.repo_root, profile.exclude)
    tree = Source(script_path=script, repo_root=profile.repo_root, exclude=tuple(profile.exclude)).tree()
    changes = modified_files(chosen)
    if as_json:
        facts = {"raw_bytes": sum(_sizes(chosen).values()), "archive_sha256": tree.sha256}
        _print_json(profile.executor, _sizes(chosen), facts, chosen, changes, fits=True)
    else:
        show_platform.source(tree, _sizes(chosen), chosen, changes, f"{profile.name}, {profile.executor}")


def _print_json(
    executor: str,
    files: Mapping[str, int],
    facts: Mapping[str, object],
    chosen: Selection,
    changes: Changes,
    *,
    fits: bool,
) -> None:
    document = {
        "executor": executor,
        "files": files,
        **facts,
        "modified": list(changes.modified),
        "modified_unknown": changes.unknown,
        "left_out": list(chosen.left_out),
        "fits": fits,
    }
    typer.echo(json_text.dumps(document))


def _sizes(chosen: Selection) -> dict[str, int]:
    return {file.name: file.path.stat().st_size for file in chosen.files if file.path.is_file()}


def _show_unpacked(chosen: Selection, executor: str, *, as_json: bool) -> None:
    sizes = _sizes(chosen)
    if as_json:
        typer.echo(json_text.dumps({"executor": executor, "files": sizes, "fits": False}))
    else:
        typer.echo("\n".join(show_platform.sizes(sizes.items())))


def _excess(plan: Plan) -> PayloadError | None:
    """Say why a platform does not take what travels, or None where it does; a job's own files come on top of it."""
    # What a request has to hold at least.
    body = {"command": list(plan.command), "env": [{"name": name, "value": text} for name, text in plan.env.items()]}
    try:
        check_budget(plan, LIMITS[plan.executor_type], body_bytes=len(canonical(body)))
    except PayloadError as excess:
        return excess
    return None
