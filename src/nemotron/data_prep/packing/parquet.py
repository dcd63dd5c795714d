"""Packed rows as Parquet, in the layout that Megatron-Bridge reads: written as a stream, and read back.

Columns: `input_ids` (list<int32>), `loss_mask` (list<uint8>, already shifted: position i says whether the token at
i + 1 is trained on) and `seq_start_id` (list<int32>, where each sequence starts, the first at 0). A row is not padded.
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nemotron.data_prep.packing.bins import Bins

COLUMNS = ("input_ids", "loss_mask", "seq_start_id")
SCHEMA = pa.schema(list(zip(COLUMNS, (pa.list_(kind) for kind in (pa.int32(), pa.uint8(), pa.int32())), strict=True)))
ROW_GROUP = 32
"""Rows in a row group. The readers fetch a whole one for every access, so small ones make random reading fast."""
# A dictionary of token ids would make the file a fifth larger, and the least and the largest id tell nobody anything.
_LAYOUT: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["loss_mask.list.element"],
    "write_statistics": False,
}
_REMEDY = "Run the stage's data preparation again."


@dataclass(frozen=True, slots=True)
class Sample:
    """One sequence as tokens.

    Args:
        ids: Token ids, shape (tokens,).
        mask: 1 where the token that follows is trained on, same shape; the last is 0.
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """Sequences one after the other in flat arrays, which may be memory maps.

    Args:
        ids: Token ids of all sequences, shape (tokens,).
        mask: 1 where the token that follows in its sequence is trained on, same shape.
        offsets: Where each sequence starts, and where the last one ends, shape (sequences + 1,).
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]
    offsets: NDArray[np.int64]


class Sequences:
    """The sequences of several shards under one numbering, each padded so that it can be cut for context parallelism.

    At run time a sequence of L tokens gives L - 1 inputs (and as many labels). With a `multiple` above 1 end tokens,
    which are never trained on, follow a sequence until L - 1 is a multiple of it.

    Args:
        shards: Where the sequences are; shard after shard they are numbered from 0.
        multiple: Megatron-Bridge's `pad_seq_to_mult`.
        pad_id: The end token's id.
    """

    def __init__(self, shards: Sequence[EncodedShard], *, multiple: int = 1, pad_id: int = 0) -> None:
        """Look at the offsets only; the tokens are read when they are written."""
        # Slices of a plain array cost a fraction of a memory map's.
        self._shards = [(np.asarray(shard.ids), np.asarray(shard.mask)) for shard in shards]
        counts = [len(shard.offsets) - 1 for shard in shards]
        self._shard_of = np.repeat(np.arange(len(shards), dtype=np.int32), counts)
        self._starts = np.concatenate([shard.offsets[:-1] for shard in shards] or [np.zeros(0, dtype=np.int64)])
        ends = np.concatenate([shard.offsets[1:] for shard in shards] or [np.zeros(0, dtype=np.int64)])
        self._own = ends - self._starts
        self.lengths = padded_lengths(self._own, multiple)
        """Tokens of each sequence as it is stored, padding included; what is packed."""
        self._padded = self.lengths - self._own
        self._padding = (np.full(multiple, pad_id, dtype=np.int32), np.zeros(multiple, dtype=np.uint8))

    def __len__(self) -> int:
        """Give the number of sequences."""
        return len(self.lengths)

    def join(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Give the ids and the masks of some sequences, one after the other, padding included.

        Args:
            numbers: Which, in order.
        """
        ids: list[NDArray[np.int32]] = []
        masks: list[NDArray[np.uint8]] = []
        pad_ids, pad_mask = self._padding
        columns: tuple[NDArray[np.integer], ...] = (self._shard_of, self._starts, self._own, self._padded)
        for shard, start, length, padding in zip(*(column[numbers].tolist() for column in columns), strict=True):
            shard_ids, shard_mask = self._shards[shard]
            ids.append(shard_ids[start : start + length])
            masks.append(shard_mask[start : start + length])
            if padding:
                ids.append(pad_ids[:padding])
                masks.append(pad_mask[:padding])
        return np.concatenate(ids), np.concatenate(masks)


def padded_lengths(lengths: NDArray[np.integer], multiple: int) -> NDArray[np.int32]:
    """Give the tokens of sequences after padding: the least L for which L - 1 is a multiple.

    Args:
        lengths: Tokens of each sequence, at least 1.
        multiple: What L - 1 has to be a multiple of.
    """
    return (-(-(lengths.astype(np.int64) - 1) // multiple) * multiple + 1).astype(np.int32)


def longest_sequence(pack_size: int, multiple: int) -> int:
    """Give the most tokens that a sequence may have so that it still fits into a row once it is padded.

    Rows are measured as they are stored: their tokens, padding included, are at most the pack size. Megatron-Bridge
    drops one token of every sequence at run time and would take rows that are longer by that, but other readers hold
    a stored row to the pack size; a row that suits both costs one token of room for each sequence.

    Args:
        pack_size: Most tokens in a row.
        multiple: As for `padded_lengths`.
    """
    return (pack_size - 1) // multiple * multiple + 1


def write_rows(path: Path, sequences: Sequences, bins: Bins) -> None:
    """Write a packed Parquet file; it appears complete or not at all.

    One row group is in memory at a time. The same rows give the same bytes with the same release of pyarrow.

    Args:
        path: The file; its folder is made.
        sequences: What the bins' numbers mean.
        bins: The rows, in order; at least one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    try:
        with partial.open("wb") as stream:
            with pq.ParquetWriter(stream, SCHEMA, **_LAYOUT) as out:
                for start in range(0, len(bins), ROW_GROUP):
                    out.write_table(_table(sequences, bins.part(start, start + ROW_GROUP)), row_group_size=ROW_GROUP)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _table(sequences: Sequences, bins: Bins) -> pa.Table:
    ids, mask = sequences.join(bins.order)
    ends = np.concatenate(([0], np.cumsum(sequences.lengths[bins.order], dtype=np.int64)))
    rows = ends[bins.offsets]
    starts = ends[:-1] - np.repeat(rows[:-1], np.diff(bins.offsets))
    columns = ((ids, rows), (mask, rows), (starts.astype(np.int32), bins.offsets))
    lists = [pa.ListArray.from_arrays(offsets.astype(np.int32), values) for values, offsets in columns]
    return pa.Table.from_arrays(lists, schema=SCHEMA)


def pack_metadata(lengths: NDArray[np.int32], bins: Bins, pack_size: int) -> dict[str, int | float]:
    """Describe rows as Megatron-Bridge wants it for `pad_cu_seqlens`; lengths are those of run time.

    Args:
        lengths: Tokens of each sequence as it is stored, by its number.
        bins: The rows; at least one.
        pack_size: Most tokens in a row.
    """
    inputs = lengths - 1
    fills = bins.fills(inputs)
    return {
        "dataset_max_seqlen": int(inputs[bins.order].max()),
        "max_samples_per_bin": int(np.diff(bins.offsets).max()),
        "packing_factor": round(len(bins.order) / len(bins), 2),
        "packing_efficiency": round(float(fills.sum()) / len(bins) / pack_size * 100, 2),
        "pack_size": pack_size,
        "min_packed_seqlen": int(fills.min()),
    }


def write_metadata(path: Path, entries: Sequence[dict[str, int | float]]) -> None:
    """Write what `pack_metadata` gave for each file, as the one list that Megatron-Bridge reads.

    Args:
        path: The JSON file.
        entries: One for each packed file.
    """
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(list(entries), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class Lists:
    """A column of lists: the list of a row is `values[offsets[row] : offsets[row + 1]]`."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def row(self, number: int) -> NDArray[Any]:
        """Give one row's list, without copying."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each row's list is."""
        return np.diff(self.offsets)


class PackedFile:
    """A packed Parquet file, of which row groups are read one by one.

    It holds no open file, so that a data loader's workers can be forked.

    Args:
        path: The file.

    Raises:
        DataError: It is not Parquet, or lacks a column.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer."""
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                names = set(file.schema_arrow.names)
                self.group_rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        except (OSError, ValueError) as error:
            message = f"not a readable Parquet file: {error}"
            raise DataError(message, where=Location(path), remedy=_REMEDY) from error
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            message = f"a packed SFT file has the columns {', '.join(COLUMNS)}; this one lacks {', '.join(missing)}"
            raise DataError(message, where=Location(path), remedy="Run `nemotron nano3 data prep sft` to make it.")

    @cached_property
    def rows(self) -> int:
        """How many rows the file has."""
        return sum(self.group_rows)

    def read(self, group: int, columns: Sequence[str] = COLUMNS) -> dict[str, Lists]:
        """Read some columns of a row group.

        Args:
            group: Its number.
            columns: Which of `COLUMNS`.

        Raises:
            DataError: It cannot be read, or a column holds no lists of numbers.
        """
        try:
            with pq.ParquetFile(self.path) as file:
                # Data loader workers are forked; a thread pool made before the fork would hang in them.
                table = file.read_row_group(group, columns=list(columns), use_threads=False)
            return {name: _lists(table.column(name)) for name in columns}
        except (OSError, ValueError, TypeError) as error:
            message = f"row group {group} cannot be read: {error}"
            raise DataError(message, where=Location(self.path), remedy=_REMEDY) from error

    def check(self, group: int, columns: dict[str, Lists]) -> None:
        """Refuse rows whose lists do not fit together; columns that were not read are not looked at.

        Args:
            group: Number of the row group.
            columns: What `read` gave for it, `loss_mask` and `seq_start_id` at least.

        Raises:
            DataError: The error names the first row that is wrong.
        """
        starts, mask = columns["seq_start_id"], columns["loss_mask"]
        tokens = mask.lengths
        wrong = starts.lengths == 0
        if "input_ids" in columns:
            wrong = wrong | (columns["input_ids"].lengths != tokens)
        if not wrong.any():
            firsts = starts.offsets[:-1]
            steps = np.diff(starts.values[starts.offsets[0] : starts.offsets[-1]], append=0)
            last = starts.offsets[1:] - 1
            steps[last - starts.offsets[0]] = tokens - starts.values[last]
            wrong = (starts.values[firsts] != 0) | (np.minimum.reduceat(steps, firsts - starts.offsets[0]) <= 0)
        if wrong.any():
            row = sum(self.group_rows[:group]) + int(np.flatnonzero(wrong)[0])
            message = f"row {row}: its input_ids, loss_mask and seq_start_id do not fit together"
            raise DataError(message, where=Location(self.path), remedy=_REMEDY)


def _lists(column: pa.ChunkedArray) -> Lists:
    array = column.combine_chunks()
    if not pa.types.is_list(array.type) and not pa.types.is_large_list(array.type):
        message = f"a column is {array.type}, not a list"
        raise TypeError(message)
    if array.null_count or array.values.null_count or not pa.types.is_integer(array.type.value_type):
        message = f"a column is {array.type} with {array.null_count + array.values.null_count} nulls"
        raise TypeError(message)
    return Lists(array.values.to_numpy(), array.offsets.to_numpy().astype(np.int64))


def read_packed(folder: Path) -> Iterator[Sample]:
    """Read the sequences of packed Parquet files one by one.

    Args:
        folder: Where the `.parquet` files are; they are read in the order of their names.

    Raises:
        DataError: There are none, one cannot be read or lacks a column, or a row does not fit together.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        message = "the folder holds no packed parquet file"
        raise DataError(message, where=Location(folder), remedy="Run the SFT data preparation again.")
    for file in map(PackedFile, files):
        for number in range(len(file.group_rows)):
            columns = file.read(number)
            file.check(number, columns)
            yield from _samples(columns)


def _samples(columns: dict[str, Lists]) -> Iterator[Sample]:
    ids = columns["input_ids"].values.astype(np.int32, copy=False)
    mask = columns["loss_mask"].values.astype(np.uint8, copy=False)
    starts, first = columns["seq_start_id"], columns["input_ids"].offsets[0]
    # The masks' rows are as long as the ids', so the bounds are the same but for where the values begin.
    shift = int(columns["loss_mask"].offsets[0] - first)
    bounds = starts.values[starts.offsets[0] : starts.offsets[-1]] + np.repeat(
        columns["input_ids"].offsets[:-1], starts.lengths
    )
    ends = [*bounds.tolist(), int(columns["input_ids"].offsets[-1])]
    for start, end in itertools.pairwise(ends):
        yield Sample(ids[start:end], mask[start + shift : end + shift])
