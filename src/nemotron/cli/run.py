"""`nemotron run SCRIPT`: any runspec script, on any profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nemo_runspec.context import parse_recipe_config
from nemo_runspec.recipe_typer import HELP_SETTINGS, RECIPE_SETTINGS, RecipeCommand, with_job_options

app = typer.Typer(add_completion=False, context_settings=HELP_SETTINGS)

ScriptArgument = Annotated[
    Path, typer.Argument(metavar="SCRIPT", help="A Python script with a runspec block.", show_default=False)
]


@app.command(cls=RecipeCommand, context_settings=RECIPE_SETTINGS, options_metavar="[OPTIONS] [KEY=VALUE]...")
@with_job_options
def run_script_command(ctx: typer.Context, script: ScriptArgument, **_: object) -> None:
    """Run any script that has a runspec block, here or on a profile of env.toml."""
    from nemotron.cli.stages.script import run_script  # noqa: PLC0415 - help and completion do without

    run_script(parse_recipe_config(ctx, sys.argv), script)
