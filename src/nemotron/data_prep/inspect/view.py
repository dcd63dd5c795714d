"""What is shown of prepared data, before it is printed or turned into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Number = int | float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to see.

    Args:
        rows: How many rows from the beginning; their text is cut short.
        row: The one row to show whole instead, counted from 0; from the end where it is negative.
    """

    rows: int = 2
    row: int | None = None

    def numbers(self, count: int, where: Path) -> Iterable[int]:
        """Give the numbers of the rows to show.

        Args:
            count: How many there are.
            where: The data, for the error.

        Raises:
            DataError: There is no such row.
        """
        if self.row is None:
            return range(min(self.rows, count))
        if not -count <= self.row < count:
            message = f"there is no row {self.row}: it holds {count}"
            raise DataError(message, where=Location(where), remedy="Rows are counted from 0.")
        return (self.row % count,)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one kind.

    Args:
        text: As it is, control characters included.
        trained: Whether a model is trained to say it.
        special: Whether it is the name of a special token, rather than text.
        times: How often it comes in a row; above 1 for special tokens only.
    """

    text: str
    trained: bool = False
    special: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True)
class Passage:
    """One sequence or record.

    Args:
        title: What it is.
        pieces: Its text, or the beginning of it.
        left_out: What is not shown of it, or an empty text.
        facts: The same for a program.
    """

    title: str
    pieces: tuple[Piece, ...]
    left_out: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal kind, such as the token files of a split.

    Args:
        name: What it lists.
        columns: Names of the columns.
        rows: Values; None is an empty cell.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything about a path.

    Args:
        kind: What it is.
        path: The path, as it was found.
        facts: Name -> a number, a text, or a table of numbers.
        tables: Overviews.
        passages: Decoded rows.
        notes: What a reader should know.
        problems: What is damaged or missing, one line each.
        masked: Whether it is known what a model is trained on.
    """

    kind: str
    path: Path
    facts: Mapping[str, object]
    tables: tuple[Table, ...] = ()
    passages: tuple[Passage, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    masked: bool = False

    def document(self) -> dict[str, object]:
        """Give it as a JSON object."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            **self.facts,
            **{table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in self.tables},
            "rows_shown": [
                {**passage.facts, "text": [_piece_document(piece) for piece in passage.pieces]}
                for passage in self.passages
            ],
            "notes": list(self.notes),
            "problems": list(self.problems),
        }


def _piece_document(piece: Piece) -> dict[str, object]:
    return {"text": piece.text, "trained": piece.trained, "special": piece.special, "times": piece.times}


def spread(lengths: NDArray[np.integer]) -> dict[str, Number]:
    """Give the least, the percentiles and the most of some lengths; empty where there are none.

    Args:
        lengths: Tokens of each.
    """
    if len(lengths) == 0:
        return {}
    names = ("min", "p10", "p50", "p90", "p99", "max")
    values = np.percentile(lengths, (0, 10, 50, 90, 99, 100), method="lower").tolist()
    return {**dict(zip(names, values, strict=True)), "mean": round(float(lengths.mean()), 1)}
