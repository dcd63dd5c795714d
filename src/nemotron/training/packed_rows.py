"""Packed SFT samples in Parquet, read row by row without loading the files.

A row is one pack: `input_ids` (tokens of several sequences, one after the other), `loss_mask` (same length, shifted
left by one inside each sequence) and `seq_start_id` (where each sequence starts, the first at 0).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError
from nemotron.data_prep.packing.parquet import Lists, PackedFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class PackedRows:
    """The rows of some Parquet files as one sequence, in the order of the files.

    One row group is kept in memory at a time, so neighbouring rows are cheap and memory does not grow with the data.

    Args:
        paths: The files.

    Raises:
        DataError: There is no file, one is not Parquet, one lacks a column, or they hold no row.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the files' footers."""
        files = [PackedFile(path) for path in paths]
        groups = [(file, number, rows) for file in files for number, rows in enumerate(file.group_rows) if rows]
        self._groups = [(file, number) for file, number, _ in groups]
        self._starts: list[int] = [0, *accumulate(rows for _, _, rows in groups)]
        self._cached: tuple[int, dict[str, Lists]] | None = None
        if not self._groups:
            message = f"no packed samples in {', '.join(map(str, paths)) or 'an empty list of files'}"
            raise DataError(message, remedy="Run the stage's data preparation again.")

    def __len__(self) -> int:
        """Give the number of packs."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        """Give one pack.

        Args:
            index: Its number; a negative one counts from the end.

        Raises:
            IndexError: There are fewer packs.
        """
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            message = f"pack {index} of {len(self)}"
            raise IndexError(message)
        group = bisect_right(self._starts, row) - 1
        if self._cached is None or self._cached[0] != group:
            file, number = self._groups[group]
            self._cached = (group, file.read(number))
        return {name: lists.row(row - self._starts[group]).tolist() for name, lists in self._cached[1].items()}
