"""What the command line asked of a recipe: configuration, place, overrides, and what goes on to the script."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nemo_runspec.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OVERRIDE = re.compile(r"^(?P<add>\+\+)?(?P<key>[A-Za-z_][\w-]*(?:\.[\w-]+)*)=(?P<value>.*)$", re.DOTALL)

CLUSTER = re.compile(r"^-[A-Za-z][A-Za-z_-]")

MODE_FLAGS = (
    "--dry-run",
    "--rehearse",
    "--with-master",
    "--committed-only",
    "--new",
    "--cancel-on-interrupt",
    "--force-squash",
    "--json",
)
"""Options that say only how a job is started, and nothing of what it does."""

# What a mistyped option is compared with.
OPTIONS = ("--config", "--run", "--batch", *MODE_FLAGS, "--help")


class Mode(enum.Enum):
    """Where a job runs, and whether the command waits for it."""

    LOCAL = "local"
    RUN = "run"
    BATCH = "batch"


class CommandContext(Protocol):
    """The part of a click or typer context that is read here."""

    args: list[str]
    params: dict[str, Any]

    @property
    def meta(self) -> dict[str, Any]:
        """Give the notes that go with the invocation."""


@dataclass(frozen=True, slots=True)
class Override:
    """One `key=value` or `++key=value` of the command line.

    Args:
        key: Dotted path of the entry.
        value: The text after the `=`, not yet read as YAML.
        add: True for `++`, which may make a new entry.
        stage: In a pipeline, the first part of what was typed, with its dot: `pretrain.`.
    """

    key: str
    value: str
    add: bool = False
    stage: str = ""

    def __str__(self) -> str:
        """Give the text as it was typed."""
        return f"{'++' if self.add else ''}{self.stage}{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class RecipeConfig:
    """A parsed recipe command line.

    Args:
        config: Name or path of the configuration (`-c`); None takes the recipe's default.
        profile: Name of the env.toml profile (`--run` or `--batch`); None runs here without one.
        mode: Whether the command waits, and where the job runs.
        dry_run: Show the job and stop.
        rehearse: Run the job of a cloud profile here, against a twin of its platform.
        with_master: The twin of run:ai adds a master pod, as some installations do.
        committed_only: Refuse to send sources that differ from the last commit.
        new: Submit the job also where the same one has been submitted and has not ended.
        cancel_on_interrupt: Ctrl-C stops the job, instead of leaving it to go on.
        force_squash: Import the container image again, for Slurm.
        as_json: Print one JSON object instead of text, or after a rehearsal's.
        overrides: `key=value` entries in the order typed.
        passthrough: Arguments that the recipe's script receives unchanged.
        argv: The whole command line, for the record.
    """

    config: str | None = None
    profile: str | None = None
    mode: Mode = Mode.LOCAL
    dry_run: bool = False
    rehearse: bool = False
    with_master: bool = False
    committed_only: bool = False
    new: bool = False
    cancel_on_interrupt: bool = False
    force_squash: bool = False
    as_json: bool = False
    overrides: tuple[Override, ...] = ()
    passthrough: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()


def parse_override(text: str) -> Override | None:
    """Read `key=value` or `++key=value`; None when the text is neither."""
    match = OVERRIDE.match(text)
    return Override(match["key"], match["value"], add=match["add"] is not None) if match else None


def parse_recipe_config(ctx: CommandContext, argv: Sequence[str] = ()) -> RecipeConfig:
    """Read a command's context into a RecipeConfig.

    Args:
        ctx: The context of a command made by `nemo_runspec.recipe_typer.RecipeTyper`.
        argv: The whole command line, for the record.

    Raises:
        UsageError: Options that exclude each other, or an argument that is neither an override nor for the script.
    """
    params: Mapping[str, Any] = ctx.params
    run, batch = params.get("run"), params.get("batch")
    if run is not None and batch is not None:
        message = f"--run {run} and --batch {batch} exclude each other"
        raise UsageError(
            message, remedy="--run waits for the job and shows its log, --batch returns at once: give one."
        )
    _check_modes(params)
    overrides, passthrough = split_arguments(ctx.args)
    return RecipeConfig(
        config=params.get("config"),
        profile=run if run is not None else batch,
        mode=Mode.RUN if run is not None else Mode.BATCH if batch is not None else Mode.LOCAL,
        dry_run=bool(params.get("dry_run")),
        rehearse=bool(params.get("rehearse")),
        with_master=bool(params.get("with_master")),
        committed_only=bool(params.get("committed_only")),
        new=bool(params.get("new")),
        cancel_on_interrupt=bool(params.get("cancel_on_interrupt")),
        force_squash=bool(params.get("force_squash")),
        as_json=bool(params.get("json")),
        overrides=overrides,
        passthrough=(*passthrough, *ctx.meta.get(VERBATIM, ())),
        argv=tuple(argv),
    )


def _check_modes(params: Mapping[str, Any]) -> None:
    if params.get("json") and not (params.get("dry_run") or params.get("rehearse")):
        message = "--json goes with --dry-run and --rehearse: what a job prints is its own"
        raise UsageError(message, remedy="Add one of them, or leave --json out.")
    if params.get("rehearse") and params.get("run") is None:
        message = "--rehearse runs the job of a cloud profile on this machine, and no profile is named with --run"
        raise UsageError(message, remedy="Add --run PROFILE, with a profile of Lepton or DGX Cloud.")
    if params.get("with_master") and not params.get("rehearse"):
        message = "--with-master is about the twin of run:ai in a rehearsal"
        raise UsageError(message, remedy="Add --rehearse, or leave --with-master out.")


SHORT_WITH_VALUE = "crb"
"""Short options of ours that may have their value attached, as in `-ctiny`."""


def refuse_clusters(arguments: Iterable[str]) -> None:
    """Refuse a script's option such as `-lr`: it would be taken apart, and its `r` read as our `--run`.

    Args:
        arguments: The command line before options are parsed.

    Raises:
        UsageError: Such an option.
    """
    for argument in arguments:
        if CLUSTER.match(argument) and argument[1] not in SHORT_WITH_VALUE:
            message = f"option '{argument}' is not one of this command's"
            raise UsageError(message, remedy=f"If it is for the script, write it behind '--': ... -- {argument}")


VERBATIM = "nemo_runspec.verbatim"
"""Key of a context's `meta` under which the arguments after `--` are kept."""


def split_arguments(arguments: Iterable[str]) -> tuple[tuple[Override, ...], tuple[str, ...]]:
    """Part the arguments that no option took into overrides and arguments for the script.

    An unknown option goes to the script, with the words that follow it. A word that follows no option would
    reach the script unnoticed, and so would a mistyped option of this command: both are refused.

    Raises:
        UsageError: A lone word, or an option nearly spelled like one of this command's own.
    """
    overrides: list[Override] = []
    passthrough: list[str] = []
    for argument in arguments:
        override = parse_override(argument)
        if override is not None:
            overrides.append(override)
        elif argument.startswith("-"):
            _refuse_mistyped(argument)
            passthrough.append(argument)
        elif passthrough:
            passthrough.append(argument)
        else:
            message = f"unexpected argument '{argument}'"
            remedy = (
                "An override is key=value, -c NAME chooses a configuration, the script's own arguments follow '--'."
            )
            if parse_override(f"+{argument}") is not None:
                remedy = f"A new entry is added with two plus signs: +{argument}"
            raise UsageError(message, remedy=remedy)
    return tuple(overrides), tuple(passthrough)


def _refuse_mistyped(option: str) -> None:
    name = option.partition("=")[0]
    close = nearest(name, OPTIONS, likeness=0.75)
    if name.startswith("--") and close is not None:
        message = f"unknown option '{name}'"
        raise UsageError(message, remedy=f"Did you mean '{close}'? An option for the script itself follows '--'.")
