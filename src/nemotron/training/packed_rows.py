"""Packed SFT samples in Parquet, read row by row without loading the files.

A row is one pack: `input_ids` (tokens of several sequences, one after the other), `loss_mask` (same length, shifted
left by one inside each sequence) and `seq_start_id` (where each sequence starts, the first at 0).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("input_ids", "loss_mask", "seq_start_id")


@dataclass(frozen=True, slots=True)
class _RowGroup:
    path: Path
    index: int
    rows: int


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
        self._groups = [group for path in paths for group in _row_groups(path)]
        self._ends = list(accumulate(group.rows for group in self._groups))
        self._cached: tuple[int, dict[str, list[list[int]]]] | None = None
        if not self._groups:
            message = f"no packed samples in {', '.join(map(str, paths)) or 'an empty list of files'}"
            raise DataError(message, remedy="Run the stage's data preparation again.")

    def __len__(self) -> int:
        """Give the number of packs."""
        return self._ends[-1]

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
        number = bisect_right(self._ends, row)
        columns = self._columns(number)
        first = self._ends[number] - self._groups[number].rows
        return {name: columns[name][row - first] for name in COLUMNS}

    def _columns(self, number: int) -> dict[str, list[list[int]]]:
        if self._cached is None or self._cached[0] != number:
            group = self._groups[number]
            with pq.ParquetFile(group.path) as file:
                # Data loader workers are forked; a thread pool made before the fork would hang in them.
                table = file.read_row_group(group.index, columns=list(COLUMNS), use_threads=False)
            columns: dict[str, Any] = table.to_pydict()
            self._cached = (number, columns)
        return self._cached[1]


def _row_groups(path: Path) -> list[_RowGroup]:
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            groups = [_RowGroup(path, i, file.metadata.row_group(i).num_rows) for i in range(file.num_row_groups)]
    except (OSError, ValueError) as error:
        message = f"not a readable Parquet file: {error}"
        raise DataError(message, where=Location(path), remedy="Run the stage's data preparation again.") from error
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        message = f"a packed SFT file has the columns {', '.join(COLUMNS)}; this one lacks {', '.join(missing)}"
        raise DataError(message, where=Location(path), remedy="Run `nemotron nano3 data prep sft` to make it.")
    return [group for group in groups if group.rows]
