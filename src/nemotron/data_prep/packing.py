"""Packed conversations: rows of several sequences, in the parquet layout that Megatron-Bridge reads.

Columns: `input_ids` (list<int32>), `loss_mask` (list<uint8>, already shifted: position i says whether the token at
i + 1 is trained on), `seq_start_id` (list<int32>, where each sequence starts). A row is not padded.
"""

from __future__ import annotations

import itertools
import os
import random
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.uint8())),
        ("seq_start_id", pa.list_(pa.int32())),
    ]
)
# The readers fetch a whole row group for every access, so small ones make random reading fast.
_ROW_GROUP = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation as tokens.

    Args:
        ids: Token ids, shape (tokens,).
        mask: 1 where the token that follows is trained on, same shape; the last is 0.
    """

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.uint8]


def pack(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """Put sequences into as few rows as is easily found: the longest first, each where it fits best.

    Args:
        lengths: Tokens of each sequence, none above the capacity.
        capacity: Most tokens in a row.
        seed: Decides the order of the rows, and of the sequences in a row.

    Returns:
        For each row the positions of its sequences in `lengths`.
    """
    rows: list[list[int]] = []
    space: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = bisect_left(space, (lengths[index], 0))
        if place < len(space):
            free, row = space.pop(place)
        else:
            free, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        insort(space, (free - lengths[index], row))
    order = random.Random(seed)  # noqa: S311 an order that can be repeated, not a secret
    for members in rows:
        order.shuffle(members)
    order.shuffle(rows)
    return rows


def write_packed(path: Path, samples: Sequence[Sample], pack_size: int, seed: int) -> int:
    """Write a packed parquet file; it appears complete or not at all.

    Args:
        path: The file.
        samples: The conversations.
        pack_size: Most tokens in a row.
        seed: Decides the order of the rows.

    Returns:
        How many rows it has.
    """
    rows = pack([len(sample.ids) for sample in samples], pack_size, seed)
    columns: dict[str, list[npt.NDArray[np.integer]]] = {name: [] for name in SCHEMA.names}
    for members in rows:
        chosen = [samples[member] for member in members]
        ends = np.cumsum([len(sample.ids) for sample in chosen])
        columns["input_ids"].append(np.concatenate([sample.ids for sample in chosen]))
        columns["loss_mask"].append(np.concatenate([sample.mask for sample in chosen]))
        columns["seq_start_id"].append(np.concatenate([[0], ends[:-1]]).astype(np.int32))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    pq.write_table(pa.table(columns, schema=SCHEMA), partial, compression="zstd", row_group_size=_ROW_GROUP)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.rename(path)
    return len(rows)


def read_packed(folder: Path) -> Iterator[Sample]:
    """Read the conversations of packed parquet files one by one.

    Args:
        folder: Where the `.parquet` files are; they are read in the order of their names.

    Raises:
        DataError: There are none, or one of them has other columns.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        message = "the folder holds no packed parquet file"
        raise DataError(message, where=Location(folder), remedy="Run the SFT data preparation again.")
    for path in files:
        with pq.ParquetFile(path) as file:
            if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                message = f"the columns are {', '.join(file.schema_arrow.names)}"
                raise DataError(message, where=Location(path), remedy=f"It needs {', '.join(SCHEMA.names)}.")
            for batch in file.iter_batches(columns=SCHEMA.names):
                for row in batch.to_pylist():
                    ids = np.asarray(row["input_ids"], dtype=np.int32)
                    mask = np.asarray(row["loss_mask"], dtype=np.uint8)
                    bounds = [*row["seq_start_id"], len(ids)]
                    for start, end in itertools.pairwise(bounds):
                        yield Sample(ids[start:end], mask[start:end])
