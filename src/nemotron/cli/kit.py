"""`nemotron kit`: make a cluster ready, see whether it is, and look at prepared data."""

from __future__ import annotations

import json as json_text
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_runspec.env import SlurmProfile, load_env_file, load_env_profile
from nemo_runspec.errors import ProfileError, UsageError
from nemo_runspec.recipe_typer import HELP_SETTINGS, complete_profiles
from nemotron.cli import kit_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.doctor import Examination

app = typer.Typer(
    help="Make a cluster ready, see whether it is, and look at prepared data.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=HELP_SETTINGS,
)
app.add_typer(kit_data.app, name="data")

TIMEOUT_S = 5.0
"""How long the doctor may take, in seconds."""
_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}
ProfileArgument = Annotated[str, typer.Argument(help="Profile of env.toml.", autocompletion=complete_profiles)]


@app.command("squash", help="Import a container image to a .sqsh file on a Slurm cluster, and print its path there.")
def squash_command(
    profile: ProfileArgument,
    image: Annotated[
        str | None,
        typer.Argument(metavar="[IMAGE]", help="Image of a registry; the profile's without it.", show_default=False),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Import anew, also when it is there.")] = False,
) -> None:
    """Import a container image to a .sqsh file on a Slurm cluster, and print its path there.

    Raises:
        UsageError: The profile is not a Slurm cluster's, or nobody names an image.
    """
    from nemo_runspec.executors import resolve_profile  # noqa: PLC0415 - help needs none of this
    from nemo_runspec.executors.connection import shell_of  # noqa: PLC0415 - the same
    from nemo_runspec.executors.slurm_request import slurm_connection  # noqa: PLC0415 - the same
    from nemo_runspec.prepare.squash import ensure_squashed_image, squash_options  # noqa: PLC0415 - the same

    found = resolve_profile(load_env_profile(profile))
    if not isinstance(found, SlurmProfile):
        message = f"profile '{found.name}' uses the executor '{found.executor}', and only Slurm needs .sqsh files"
        raise UsageError(message, remedy="Name a profile of a Slurm cluster: nemotron env list")
    wanted = found.image_of(None) if image is None else image
    if wanted is None:
        message = f"profile '{found.name}' names no container image"
        raise UsageError(message, remedy=f"Name one: nemotron kit squash {found.name} nvcr.io/nvidia/nemo:25.11")
    shell = shell_of(slurm_connection(found))
    try:
        path = ensure_squashed_image(
            shell,
            wanted,
            found.job_root,
            force=force,
            srun_options=squash_options(found, attached=True),
            say=partial(typer.echo, err=True),
        )
    finally:
        shell.close()
    typer.echo(path)


@app.command(
    "doctor",
    help="See whether a profile's jobs would run: connection, folders, partitions, image, mounts, credentials.",
)
def doctor_command(
    profiles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROFILE]...", help="Profiles; all without one.", autocompletion=complete_profiles),
    ] = None,
    *,
    online: Annotated[bool, typer.Option("--online", help="Ask clouds and git servers too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds that it may take.")] = TIMEOUT_S,
) -> None:
    """See whether a profile's jobs would run: connection, folders, partitions, image, mounts, credentials.

    Raises:
        ProfileError: There is no profile to look at.
        Exit: With 1 when something has failed.
    """
    from nemo_runspec.doctor import examine  # noqa: PLC0415 - help needs none of this

    started = time.monotonic()
    file = load_env_file()
    names = tuple(dict.fromkeys(profiles or file.profiles))
    if not names:
        message = "there is no profile to look at"
        raise ProfileError(message, remedy="Copy env.toml.example to env.toml, or name a file in NEMOTRON_ENV_FILE.")
    found = examine({name: partial(file.profile, name) for name in names}, online=online, timeout_s=timeout)
    seconds = time.monotonic() - started
    if json:
        typer.echo(json_text.dumps(_document(found, seconds)))
    else:
        _show(found, seconds)
    if not all(examination.is_healthy for examination in found):
        raise typer.Exit(1)


def _document(found: Sequence[Examination], seconds: float) -> dict[str, object]:
    rows = {
        examination.profile: {
            "executor": examination.executor or None,
            "healthy": examination.is_healthy,
            "checks": [
                {"check": one.check, "state": one.state.value.lower(), "text": one.text, "remedy": one.remedy}
                for one in examination.findings
            ],
        }
        for examination in found
    }
    return {"healthy": all(one.is_healthy for one in found), "seconds": round(seconds, 2), "profiles": rows}


def _show(found: Sequence[Examination], seconds: float) -> None:
    for examination in found:
        typer.secho(f"[{examination.profile}]", bold=True, nl=not examination.executor)
        if examination.executor:
            typer.echo(f"   {examination.executor}")
        for one in examination.findings:
            typer.echo("  " + typer.style(f"{one.state.value:<5}", fg=_COLOURS[one.state.value]), nl=False)
            remedy = typer.style(f" -> {one.remedy}", dim=True) if one.remedy else ""
            typer.echo(f"{one.check:<15} {one.text}{remedy}")
    healthy = sum(one.is_healthy for one in found)
    typer.echo(f"{healthy} of {len(found)} without a failure, {seconds:.1f} s")
