"""Encoded conversations -> packed rows: which are taken, which go together, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from nemotron.data_prep.chats import open_encoded
from nemotron.data_prep.mixing import share_out
from nemotron.data_prep.packing import ROW_GROUP, Bins, Sequences, pack, pack_metadata, write_rows
from nemotron.data_prep.shards import Address, FileRecord, ShardStore, Written, make_shard, meter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nemotron.data_prep.shards import Busy, Made

PACKED_FILE = "packed.parquet"
# Larger files would make a killed run repeat more, smaller ones more of them to open.
_TOKENS_A_FILE = 1 << 24
# So many sequences fill their rows as well as any number, and the packer's arrays stay small.
_PACKED_TOGETHER = 1 << 20


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoded shards whose sequences are packed together.

    Args:
        store: The folder of all shards.
        shards: Key and split of each, in order.
        multiple: What each sequence is padded for, `pad_seq_to_mult`.
        pad_id: The end token's id.
    """

    store: str
    shards: tuple[tuple[str, str], ...]
    multiple: int
    pad_id: int

    def open(self) -> Sequences:
        """Open them; a process does so once."""
        return _open(self)


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How sequences are packed.

    Args:
        pack_size: Most tokens in a row.
        seed: Decides the order.
    """

    pack_size: int
    seed: int


@dataclass(frozen=True, slots=True)
class PackTask:
    """A packed file to make.

    Args:
        encoded: Where its sequences are.
        order: Numbers of its sequences, row after row, as bytes of int64.
        offsets: Where each row starts in `order`, and where the last one ends, as bytes of int64.
        pack_size: Most tokens in a row.
    """

    encoded: Encoded
    order: bytes
    offsets: bytes
    pack_size: int

    def address(self) -> Address:
        """Give the file's content address."""
        encoded = self.encoded
        facts = {
            "multiple": encoded.multiple,
            "pad_id": encoded.pad_id,
            "pack_size": self.pack_size,
            "rows": xxhash.xxh3_128_hexdigest(self.order + self.offsets),
        }
        return Address("packed rows", tuple(f"{key}/{split}" for key, split in encoded.shards), facts)

    def bins(self) -> Bins:
        """Give its rows."""
        return Bins(np.frombuffer(self.order, dtype=np.int64), np.frombuffer(self.offsets, dtype=np.int64))


def make_pack(task: PackTask) -> Made | Busy:
    """Make a packed file; the function that a crew runs.

    Args:
        task: Which.
    """
    return make_shard(ShardStore(Path(task.encoded.store)), task.address(), lambda folder: _write(task, folder))


def metadata_of(task: PackTask) -> dict[str, int | float]:
    """Describe a packed file as Megatron-Bridge wants it."""
    return pack_metadata(task.encoded.open().lengths, task.bins(), task.pack_size)


def choose_sequences(counts: Sequence[int], weights: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Choose, of data sets whose sequences are numbered one set after the other, as many as their weights say.

    Args:
        counts: Sequences of each data set.
        weights: The share of each in the mix; no sequence comes twice, see `share_out`.
        seed: Another seed chooses others.

    Returns:
        Their numbers, in a mixed order.
    """
    bits = np.random.PCG64(seed)
    chosen = []
    first = 0
    for count, wanted in zip(counts, share_out(counts, weights), strict=True):
        numbers = np.arange(first, first + count, dtype=np.int64)
        chosen.append(numbers if wanted == count else _shuffled(numbers, bits)[:wanted])
        first += count
    return _shuffled(np.concatenate(chosen), bits)


def pack_tasks(encoded: Encoded, numbers: NDArray[np.int64], options: PackOptions) -> Iterator[PackTask]:
    """Pack sequences, and cut the rows into files.

    Args:
        encoded: Where the sequences are.
        numbers: Those to pack.
        options: How.

    Yields:
        A task for each file.
    """
    lengths = encoded.open().lengths
    rows = max(1, _TOKENS_A_FILE // options.pack_size // ROW_GROUP) * ROW_GROUP
    for start in range(0, len(numbers), _PACKED_TOGETHER):
        chosen = numbers[start : start + _PACKED_TOGETHER]
        bins = pack(lengths[chosen], options.pack_size, options.seed)
        for first in range(0, len(bins), rows):
            part = bins.part(first, min(first + rows, len(bins)))
            yield PackTask(encoded, chosen[part.order].tobytes(), part.offsets.tobytes(), options.pack_size)


def _shuffled(numbers: NDArray[np.int64], bits: np.random.PCG64) -> NDArray[np.int64]:
    # The raw bits are the same with every release of numpy, which its shuffle does not promise.
    return numbers[np.argsort(bits.random_raw(len(numbers)), kind="stable")]


def _write(task: PackTask, folder: Path) -> Written:
    bins = task.bins()
    sequences = task.encoded.open()
    write_rows(folder / PACKED_FILE, sequences, bins)
    tokens = int(sequences.lengths[bins.order].sum(dtype=np.int64))
    meter.add(tokens, tokens)
    counts = {"rows": len(bins), "sequences": len(bins.order), "tokens": tokens, "bytes": tokens}
    return Written({PACKED_FILE: FileRecord.of(folder / PACKED_FILE)}, counts)


@lru_cache(maxsize=4)
def _open(encoded: Encoded) -> Sequences:
    store = ShardStore(Path(encoded.store))
    shards = [open_encoded(store.folder(key), split) for key, split in encoded.shards]
    return Sequences(shards, multiple=encoded.multiple, pad_id=encoded.pad_id)
