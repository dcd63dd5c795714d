"""`nemotron kit data`: look at what a data preparation has made."""

from __future__ import annotations

import json as json_text
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_runspec.errors import EXIT_USAGE
from nemo_runspec.recipe_typer import HELP_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemotron.data_prep.inspect import Passage, Piece, Table, View

app = typer.Typer(
    help="Look at what a data preparation has made.",
    no_args_is_help=True,
    add_completion=False,
    context_settings=HELP_SETTINGS,
)

_GUTTER = "  | "
_TABLE_ROWS = 20
_FIRST_PRINTABLE = 0x20
_PICTURES = 0x2400
_EPILOG = """Examples:

nemotron kit data show output/nano3/data_prep/pretrain/FINGERPRINT/data     # splits, weights, tokens

nemotron kit data show data/train/web            # a .bin/.idx pair's prefix

nemotron kit data show splits/train --row 12     # one packed row, whole

nemotron kit data show web.idx --tokenizer DIR --json | jq .tokens"""


@app.callback()
def data() -> None:
    """Look at what a data preparation has made."""


@app.command(
    "show",
    help=(
        "Show what token pairs (.bin/.idx), packed rows (.parquet), records (.jsonl), a blend.json, a manifest.json or"
        " a folder of them hold: counts, lengths and decoded rows. What a model is trained to say is green on a"
        " terminal and stands in ⟦ ⟧ elsewhere; special tokens are reversed there, and in ⟨ ⟩ elsewhere."
    ),
    epilog=_EPILOG,
)
def show_command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The data: a prefix, a file or a folder.")],
    *,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows to decode, cut short where they are long.")] = 2,
    row: Annotated[
        int | None, typer.Option("--row", help="Decode this row instead, whole; counted from 0.", show_default=False)
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="DIR",
            help="Its tokenizer, when none is beside the data.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what prepared data holds.

    Raises:
        DataError: The path is no prepared data, or damaged.
        Exit: With 2 when a part of the data is missing or damaged.
    """
    from nemotron.data_prep.inspect import Wanted, inspect_path  # noqa: PLC0415 - brings numpy, and help needs none

    view = inspect_path(path, Wanted(rows, row), tokenizer)
    if json:
        typer.echo(json_text.dumps(view.document(), ensure_ascii=False))
    else:
        _show(view, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        for problem in view.problems:
            typer.secho(problem, fg="red", err=True)
    if view.problems:
        raise typer.Exit(EXIT_USAGE)


def _show(view: View, *, colour: bool) -> None:
    typer.echo(f"{_strong(view.kind, colour=colour)}  {view.path}")
    width = max((len(name) for name in view.facts), default=0)
    for name, value in view.facts.items():
        if value is not None:
            typer.echo(f"  {name.replace('_', ' '):<{width}}  {_value(value)}")
    for table in view.tables:
        if table.rows:
            _show_table(table, colour=colour)
    if view.masked or any(piece.special for passage in view.passages for piece in passage.pieces):
        typer.echo()
        typer.echo(_legend(masked=view.masked, colour=colour))
    for passage in view.passages:
        _show_passage(passage, colour=colour)
    if view.notes:
        typer.echo()
    for note in view.notes:
        typer.echo(f"note: {note}")


def _strong(text: str, *, colour: bool) -> str:
    return typer.style(text, bold=True) if colour else text


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "   ".join(f"{name} {_value(number)}" for name, number in value.items())
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int | float) else "-"


def _show_table(table: Table, *, colour: bool) -> None:
    shown = [[_value(value) for value in row] for row in table.rows[:_TABLE_ROWS]]
    header = [name.replace("_", " ") for name in table.columns]
    widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
    numeric = [any(isinstance(row[place], int | float) for row in table.rows) for place in range(len(header))]
    typer.echo()
    typer.echo(_strong(table.name, colour=colour))
    for row in [header, *shown]:
        cells = zip(row, widths, numeric, strict=True)
        line = "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
        typer.echo(f"  {line}".rstrip())
    if len(table.rows) > _TABLE_ROWS:
        typer.echo(f"  ... and {len(table.rows) - _TABLE_ROWS:,} more")


def _legend(*, masked: bool, colour: bool) -> str:
    trained = typer.style("trained on", fg="green") if colour else "⟦trained on⟧"
    special = typer.style("special token", reverse=True) if colour else "⟨special token⟩"
    return f"{trained}, {special}" if masked else special


def _show_passage(passage: Passage, *, colour: bool) -> None:
    typer.echo()
    typer.echo(_strong(passage.title, colour=colour))
    text = "".join(_coloured(passage.pieces) if colour else _bracketed(passage.pieces))
    for line in text.split("\n"):
        typer.echo(_GUTTER + line)
    if passage.left_out:
        typer.echo(f"{_GUTTER}... {passage.left_out}")


def _coloured(pieces: Iterable[Piece]) -> Iterator[str]:
    for piece in pieces:
        shown = _printable(_named(piece))
        fg = "green" if piece.trained else None
        # Each line is styled for itself, since the gutter lies between.
        lines = (typer.style(line, fg=fg, reverse=piece.special or None) if line else "" for line in shown.split("\n"))
        yield "\n".join(lines)


def _bracketed(pieces: Iterable[Piece]) -> Iterator[str]:
    inside = False
    for piece in pieces:
        if piece.trained != inside:
            yield "⟦" if piece.trained else "⟧"
            inside = piece.trained
        yield _printable(f"⟨{_named(piece)}⟩" if piece.special else piece.text)
    if inside:
        yield "⟧"


def _named(piece: Piece) -> str:
    return f"{piece.text} x{piece.times:,}" if piece.times > 1 else piece.text


def _printable(text: str) -> str:
    """Show control characters as pictures: data must not be able to steer the terminal."""
    return text.translate(_CONTROLS)


def _controls() -> Mapping[int, str]:
    low = {code: chr(_PICTURES + code) for code in range(_FIRST_PRINTABLE) if chr(code) not in "\n\t"}
    # Delete, the second set of controls, and the marks that turn the direction of writing.
    others = (0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    return {**low, **{code: f"\\u{code:04x}" for code in others}}


_CONTROLS = _controls()
