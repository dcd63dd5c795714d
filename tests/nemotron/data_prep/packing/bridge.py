"""How Megatron-Bridge reads packed rows: what it makes of a row when it puts a batch together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Batch:
    """A row as the model gets it; `cu_seqlens` says where sequences begin and end."""

    tokens: list[int]
    labels: list[int]
    loss_mask: list[int]
    position_ids: list[int]
    cu_seqlens: list[int]

    def sequences(self) -> list[tuple[list[int], list[int], list[int]]]:
        """Give inputs, labels and mask of each sequence."""
        bounds = zip(self.cu_seqlens[:-1], self.cu_seqlens[1:], strict=True)
        return [(self.tokens[a:b], self.labels[a:b], self.loss_mask[a:b]) for a, b in bounds]


def read_rows(path: Path) -> Iterator[dict[str, list[int]]]:
    """Read as the library does: a row group, and of it one row as Python lists."""
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["input_ids", "loss_mask", "seq_start_id"])
        for row in range(table.num_rows):
            yield {name: table.column(name)[row].as_py() for name in table.column_names}


def collate(row: dict[str, list[int]], pack_size: int) -> Batch:
    """Make a batch of one row: every sequence loses its last token as input and its first as label."""
    batch = Batch([], [], [], [], [0])
    bounds = [*row["seq_start_id"], len(row["input_ids"])]
    for start, end in itertools.pairwise(bounds):
        batch.tokens.extend(row["input_ids"][start : end - 1])
        batch.labels.extend(row["input_ids"][start + 1 : end])
        batch.loss_mask.extend(row["loss_mask"][start : end - 1])
        batch.position_ids.extend(range(end - start - 1))
        batch.cu_seqlens.append(batch.cu_seqlens[-1] + end - start - 1)
    assert len(batch.tokens) <= pack_size
    return batch


def cut_for_context_parallel(start: int, end: int, ranks: int, rank: int) -> list[int]:
    """Give the positions of a sequence that one rank computes: the chunk of its number, and that from the other end."""
    chunk, rest = divmod(end - start, 2 * ranks)
    assert rest == 0, "a sequence does not divide into two chunks for each rank"
    chunks = [range(start + place * chunk, start + (place + 1) * chunk) for place in (rank, 2 * ranks - 1 - rank)]
    return [position for positions in chunks for position in positions]
