"""Packed rows of fine-tuning: some Parquet files, or the splits of a folder."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from nemotron.data_prep.inspect.pairs import SHOWN_TOKENS
from nemotron.data_prep.inspect.view import Passage, Table, View, spread
from nemotron.data_prep.packing import COLUMNS, PackedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nemotron.data_prep.inspect.decoding import Decoder
    from nemotron.data_prep.inspect.view import Wanted

# A row group of 32 rows of 4,096 tokens takes milliseconds, so the figures are there in a second or two.
_GROUPS_READ = 200
_SHOWN_SEQUENCES = 4


class PackedSplit:
    """The packed files of one split, in the order in which they are read.

    Args:
        files: The files.

    Raises:
        DataError: One is not Parquet, or lacks a column.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the footers."""
        self.files = [PackedFile(path) for path in files]
        self.groups = [(file, number) for file in self.files for number in range(len(file.group_rows))]
        self.starts: list[int] = [0, *itertools.accumulate(file.group_rows[number] for file, number in self.groups)]
        self.tokens = sum(_values(file.path, "input_ids") for file in self.files)
        self.sequences = sum(_values(file.path, "seq_start_id") for file in self.files)

    @property
    def rows(self) -> int:
        """How many rows the files have."""
        return self.starts[-1]

    def row(self, number: int) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
        """Read the ids, the mask and the starts of a row.

        Args:
            number: The row, counted through the files.

        Raises:
            DataError: It cannot be read, or is damaged.
        """
        place = bisect_right(self.starts, number) - 1
        file, group = self.groups[place]
        columns = file.read(group)
        file.check(group, columns)
        ids, mask, starts = (columns[name].row(number - self.starts[place]) for name in COLUMNS)
        return ids, mask, starts


def _values(path: Path, column: str) -> int:
    """Count the values in a column's lists from the footer alone."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    return sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Figures of the row groups that were read."""

    rows: int
    row_lengths: NDArray[np.int64]
    sequence_lengths: NDArray[np.int64]
    trained: int


def show_packed(path: Path, files: Sequence[Path], wanted: Wanted, decoder: Decoder) -> View:
    """Show packed rows.

    Args:
        path: What was asked about.
        files: The files.
        wanted: Which rows.
        decoder: Turns their ids into text.

    Raises:
        DataError: A file cannot be read or is damaged, or there is no such row.
    """
    split = PackedSplit(files)
    sample = _sample(split)
    facts: dict[str, object] = {
        "files": len(split.files),
        "rows": split.rows,
        "sequences": split.sequences,
        "tokens": split.tokens,
    }
    if sample.rows:
        facts |= {
            "trained_percent": round(100 * sample.trained / int(sample.row_lengths.sum()), 1),
            "fill_percent": round(100 * float(sample.row_lengths.mean()) / int(sample.row_lengths.max()), 2),
            "row_length": spread(sample.row_lengths),
            "sequence_length": spread(sample.sequence_lengths),
        }
    notes = ["fill is that of a row against the longest one"] if sample.rows else []
    if sample.rows < split.rows:
        notes.append(f"lengths, fill and what is trained on are of {sample.rows:,} rows spread over the data")
    passages = tuple(_rows(path, split, wanted, decoder))
    return View("packed rows", path, facts, passages=passages, notes=tuple(notes), masked=True)


def show_splits(path: Path, splits: Mapping[str, Sequence[Path]], wanted: Wanted, decoder: Decoder) -> View:
    """Show a folder with packed rows of several splits.

    Args:
        path: The folder.
        splits: The files of each, the first one's rows are shown.
        wanted: Which rows.
        decoder: Turns their ids into text.

    Raises:
        DataError: As for `show_packed`.
    """
    opened = {name: PackedSplit(files) for name, files in splits.items()}
    rows = tuple(
        (name, len(split.files), split.rows, split.sequences, split.tokens, round(split.tokens / max(split.rows, 1), 1))
        for name, split in opened.items()
    )
    table = Table("splits", ("split", "files", "rows", "sequences", "tokens", "tokens_per_row"), rows)
    name, first = next(iter(opened.items()))
    passages = tuple(_rows(path, first, wanted, decoder))
    notes = (f"the rows are those of the split '{name}'; name its folder to see more of it",)
    return View("packed splits", path, {}, (table,), passages, notes, masked=True)


def _sample(split: PackedSplit) -> _Sample:
    step = max(1, -(-len(split.groups) // _GROUPS_READ))
    rows: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    sequences: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    trained = 0
    for file, number in split.groups[::step]:
        columns = file.read(number, ("loss_mask", "seq_start_id"))
        file.check(number, columns)
        lengths, starts = columns["loss_mask"].lengths, columns["seq_start_id"]
        bounds = [[*starts.row(row).tolist(), length] for row, length in enumerate(lengths.tolist())]
        rows.append(lengths)
        sequences += [np.diff(row) for row in bounds]
        trained += int(np.count_nonzero(columns["loss_mask"].values))
    row_lengths = np.concatenate(rows)
    return _Sample(len(row_lengths), row_lengths, np.concatenate(sequences), trained)


def _rows(path: Path, split: PackedSplit, wanted: Wanted, decoder: Decoder) -> Iterator[Passage]:
    for number in wanted.numbers(split.rows, path):
        ids, mask, starts = split.row(number)
        bounds = list(itertools.pairwise([*starts.tolist(), len(ids)]))
        shown = len(bounds) if wanted.row is not None else _SHOWN_SEQUENCES
        for sequence, (start, end) in enumerate(bounds[:shown]):
            # The mask at a position is about the token behind it.
            trained = np.concatenate(([False], mask[start : end - 1] != 0))
            limit = end - start if wanted.row is not None else min(end - start, SHOWN_TOKENS)
            left = [f"{end - start - limit:,} more tokens"] if limit < end - start else []
            if sequence == shown - 1 and len(bounds) > shown:
                left.append(f"{len(bounds) - shown:,} more sequences in this row")
            part, of_part = ids[start : start + limit], trained[:limit]
            facts = {"row": number, "sequence": sequence, "start": start, "tokens": end - start}
            counts = f"{end - start:,} tokens, {trained.sum():,} trained on"
            yield Passage(
                f"row {number}, sequence {sequence} of {len(bounds)}: {counts}",
                decoder.pieces(part, of_part, cut=limit < end - start),
                f"{', '.join(left)} (--row {number} shows all)" if left else "",
                {**facts, "trained": int(trained.sum()), "ids": part.tolist(), "trained_on": of_part.tolist()},
            )
