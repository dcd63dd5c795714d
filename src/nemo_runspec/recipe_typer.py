"""Typer commands for recipes: the same options everywhere, anywhere on the line, and a help that lists what exists."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nemo_runspec.context import VERBATIM, RecipeConfig, parse_recipe_config, refuse_clusters
from nemo_runspec.errors import NemotronError
from nemo_runspec.recipe_meta import RecipeMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


__all__ = [
    "HELP_SETTINGS",
    "RECIPE_SETTINGS",
    "USAGE",
    "RecipeCommand",
    "RecipeMeta",
    "RecipeTyper",
    "complete_profiles",
    "lazy_group",
    "with_job_options",
]

HELP_SETTINGS = {"help_option_names": ["-h", "--help"]}
RECIPE_SETTINGS: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, **HELP_SETTINGS}
USAGE = "[OPTIONS] [KEY=VALUE]... [-- ARGUMENT...]"
JOB_PANEL = "Job"


def complete_configs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the recipe's configurations."""
    meta = getattr(ctx.command, "meta", None)
    return [name for name in (meta.configs() if meta else []) if name.startswith(incomplete)]


def complete_profiles(incomplete: str) -> list[str]:
    """Offer the profiles of env.toml; an env.toml that cannot be read offers none."""
    from nemo_runspec.env import list_profiles  # noqa: PLC0415 - only completion needs it

    try:
        return [name for name in list_profiles() if name.startswith(incomplete)]
    except NemotronError:
        return []


ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|PATH",
        help="Configuration of the recipe, or a YAML file.",
        autocompletion=complete_configs,
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        metavar="PROFILE",
        help="Run on a profile of env.toml and wait: log and exit code are the job's.",
        autocompletion=complete_profiles,
        rich_help_panel=JOB_PANEL,
    ),
]
BatchOption = Annotated[
    str | None,
    typer.Option(
        "--batch",
        "-b",
        metavar="PROFILE",
        help="Start on a profile of env.toml and return at once.",
        autocompletion=complete_profiles,
        rich_help_panel=JOB_PANEL,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", "-d", help="Show the merged configuration and the job; start nothing.", rich_help_panel=JOB_PANEL
    ),
]
RehearseOption = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        help="With --run of a cloud: send the same job to a twin of the platform on this machine, and run it here.",
        rich_help_panel=JOB_PANEL,
    ),
]
WithMasterOption = Annotated[
    bool,
    typer.Option(
        "--with-master",
        help="With --rehearse on DGX Cloud: the platform adds a master pod, as some installations do.",
        rich_help_panel=JOB_PANEL,
    ),
]
CommittedOnlyOption = Annotated[
    bool,
    typer.Option(
        "--committed-only",
        help="Refuse to send sources that differ from the last commit.",
        rich_help_panel=JOB_PANEL,
    ),
]
NewOption = Annotated[
    bool,
    typer.Option(
        "--new",
        help="Submit it again, also where the same job was submitted and has not ended; otherwise that one is taken.",
        rich_help_panel=JOB_PANEL,
    ),
]
CancelOnInterruptOption = Annotated[
    bool,
    typer.Option(
        "--cancel-on-interrupt",
        help="With --run: Ctrl-C stops the job. Otherwise it goes on, and `nemotron jobs` finds it.",
        rich_help_panel=JOB_PANEL,
    ),
]
ForceSquashOption = Annotated[
    bool,
    typer.Option(
        "--force-squash", help="On Slurm: import the container image again before the job.", rich_help_panel=JOB_PANEL
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="With --dry-run: print one JSON object. With --rehearse: end with one.",
        rich_help_panel=JOB_PANEL,
    ),
]


JOB_OPTIONS: Mapping[str, tuple[Any, object]] = {
    "config": (ConfigOption, None),
    "run": (RunOption, None),
    "batch": (BatchOption, None),
    "dry_run": (DryRunOption, False),
    "rehearse": (RehearseOption, False),
    "with_master": (WithMasterOption, False),
    "committed_only": (CommittedOnlyOption, False),
    "new": (NewOption, False),
    "cancel_on_interrupt": (CancelOnInterruptOption, False),
    "force_squash": (ForceSquashOption, False),
    "json": (JsonOption, False),
}
"""Parameter -> what typer makes an option of, and the default."""


def with_job_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command's function the options that every job has, behind its own parameters.

    Args:
        function: Takes them as keywords; their values are in typer's context, where `parse_recipe_config` reads them.
    """
    own = inspect.signature(function, eval_str=True).parameters.values()
    kept = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in JOB_OPTIONS.items()
    ]

    def command(*args: object, **options: object) -> None:
        function(*args, **options)

    parameters = [*kept, *added]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks at first
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    return command


class RecipeCommand(TyperCommand):
    """A command that keeps what follows `--` apart, and ends its help with what this installation has."""

    meta: RecipeMeta | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer exports no type for it
        """Set the arguments after `--` aside for the script before options are read."""
        if "--" in args:
            position = args.index("--")
            ctx.meta[VERBATIM] = tuple(args[position + 1 :])
            args = args[:position]
        refuse_clusters(args)
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        """Write typer's help, then the panels of the recipe."""
        super().format_help(ctx, formatter)
        if self.meta is not None:
            from nemo_runspec.recipe_help import print_panels  # noqa: PLC0415 - only help draws panels

            print_panels(self.meta)


class RecipeTyper(typer.Typer):
    """A typer application whose commands run recipes."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's own settings
        """Make an application that shows its help when nothing is asked of it."""
        super().__init__(no_args_is_help=True, add_completion=False, context_settings=HELP_SETTINGS, **settings)

    def add_recipe_command(self, name: str, execute: Callable[[RecipeConfig, Path], None], meta: RecipeMeta) -> None:
        """Add a command that parses its line into a RecipeConfig and hands it on.

        Args:
            name: The command's name; words are subcommands ("data prep sft").
            execute: Called with the parsed command line and the recipe's script.
            meta: What its help tells.
        """
        command_class = type("BoundRecipeCommand", (RecipeCommand,), {"meta": meta})

        def command(ctx: typer.Context, **_: object) -> None:
            execute(parse_recipe_config(ctx, sys.argv), meta.script)

        self.command(
            name, cls=command_class, help=meta.summary, context_settings=RECIPE_SETTINGS, options_metavar=USAGE
        )(with_job_options(command))


def lazy_group(members: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """Make a command group whose members are imported only when they are named.

    Args:
        members: Command -> (`module:application`, its line in the help).
    """

    class LazyGroup(TyperGroup):
        """Lists a placeholder for each member, and imports the one that is called."""

        def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's own settings
            """Add the placeholders before the group's own commands."""
            own = settings.pop("commands", None) or {}
            placeholders = {name: TyperCommand(name=name, help=line) for name, (_, line) in members.items()}
            super().__init__(commands={**placeholders, **own}, **settings)

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - typer exports no type for it
            """Put the real command in its placeholder's stead."""
            name, command, rest = super().resolve_command(ctx, args)
            if name is not None and name in members:
                module, _, attribute = members[name][0].partition(":")
                command = typer.main.get_command(getattr(import_module(module), attribute))
                command.name = name
            return name, command, rest

    return LazyGroup
