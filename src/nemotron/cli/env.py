"""`nemotron env`: list, show and check the profiles of env.toml."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nemo_runspec.env import Profile, load_env_file, load_env_profile, parse_env
from nemo_runspec.env_vars import job_redactor
from nemo_runspec.errors import NemotronError, ProfileError
from nemo_runspec.recipe_typer import HELP_SETTINGS, complete_profiles

app = typer.Typer(
    help="List, show and check the profiles of env.toml.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=HELP_SETTINGS,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_command(*, json: JsonOption = False) -> None:
    """List the profiles, with their executors."""
    file = load_env_file()
    rows = {name: _executor(name) for name in file.profiles}
    if json:
        _print_json({"file": str(file.path) if file.path else None, "profiles": rows})
        return
    typer.echo(f"profiles of {file.path}" if file.path else "no env.toml here or above; copy env.toml.example")
    for name, executor in rows.items():
        typer.echo(f"  {name:<20} {executor}")


@app.command("show")
def show_command(
    profile: Annotated[str, typer.Argument(help="Profile of env.toml.", autocompletion=complete_profiles)],
    *,
    json: JsonOption = False,
) -> None:
    """Show a profile with what it inherits, and where each value comes from."""
    found = load_env_profile(profile)
    values: dict[str, Any] = job_redactor(found).data(found.as_config(confidential=True))
    if json:
        _print_json({"name": found.name, "source": str(found.source), "values": values})
        return
    typer.secho(f"[{found.name}]", bold=True, nl=False)
    typer.secho(f"   {found.source}", dim=True)
    for key, value in values.items():
        origin = found.origins.get(key)
        typer.echo(f"  {key} = {value!r}" + (typer.style(f"   # {origin}", fg="cyan") if origin else ""))


@app.command("check")
def check_command() -> None:
    """Check every profile, and report all problems at once."""
    file = parse_env()
    if file.path is None:
        message = "there is no env.toml here or above"
        raise ProfileError(message, remedy="Copy env.toml.example to env.toml, or name a file in NEMOTRON_ENV_FILE.")
    count = len(file.profiles)
    typer.echo(f"{file.path}: {count} profile{'' if count == 1 else 's'}, no problems")


def _executor(name: str) -> str:
    try:
        profile: Profile = load_env_profile(name)
    except NemotronError as error:
        return f"cannot be used: {error.message}"
    return profile.executor


def _print_json(document: dict[str, Any]) -> None:
    import json  # noqa: PLC0415 - the option has the module's name

    typer.echo(json.dumps(document))
