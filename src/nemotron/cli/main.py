"""The root command. Families and tools are imported only when they are named."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from nemo_runspec.errors import EXIT_INTERRUPTED, EXIT_USAGE, NemotronError
from nemo_runspec.recipe_typer import HELP_SETTINGS, lazy_group
from nemo_runspec.without_torch import without_torch

COMMANDS = {
    "nano3": ("nemotron.cli.nano3:app", "Nemotron 3 Nano: data preparation, pretraining, SFT, RL, evaluation."),
    "run": ("nemotron.cli.run:app", "Run any script that has a runspec block."),
    "jobs": ("nemotron.cli.jobs:app", "List, look at, follow and end the jobs that were submitted from here."),
    "ray": ("nemotron.cli.ray:app", "Make, list, use and end Ray clusters on Lepton that outlive a job."),
    "source": ("nemotron.cli.source:app", "Show what travels with a job to a cloud."),
    "env": ("nemotron.cli.env:app", "List, show and check the profiles of env.toml."),
    "kit": ("nemotron.cli.kit:app", "Make a cluster ready, see whether it is, and look at prepared data."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="Run LLM training recipes on any cluster: nemotron FAMILY STAGE -c CONFIG --run PROFILE key=value ...",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_SETTINGS,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - reads the installed metadata, which takes time

        typer.echo(f"nemotron {version('nemotron')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""
    del version  # its callback has answered


def main() -> None:
    """Run the command line; an expected error becomes one message and its own exit code."""
    try:
        with without_torch():
            app()
    except NemotronError as error:
        if error.exit_code == EXIT_INTERRUPTED:
            # One more Ctrl-C must not break into what is told, or into Python's own end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _tell(error.title, str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        # Of the machine and not of the program: a disk that is full, a folder that may not be written.
        reason = error.strerror or str(error)
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        _tell(NemotronError.title, f"{place}: {reason}" if place else reason)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _tell(title: str, text: str) -> None:
    typer.secho(f"{title}: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
