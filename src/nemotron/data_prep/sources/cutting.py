"""Files into pieces for one shard each: the same ones on every machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nemotron.data_prep.sources.model import Format, Piece, SourceFile, Span
from nemotron.data_prep.sources.tables import group_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Enough pieces for the workers of some nodes, and few enough that a blend of their files stays readable.
_PARTS = 256
_SMALLEST, _LARGEST = 2 << 20, 1 << 30
# Footers come one request after the other; a store answers many at once.
_REQUESTS = 16


def cut(files: Sequence[SourceFile], shard_bytes: int | None) -> tuple[Piece, ...]:
    """Divide the files of a data set.

    A function of the files' names and sizes, and of the row groups that Parquet has. Where a file grows at its end,
    its earlier pieces stay as they are for a given `shard_bytes`.

    Args:
        files: The files, in their order.
        shard_bytes: About how many bytes, as stored, a piece has; small neighbours come together up to that. None goes
            by the size of all files, see `piece_bytes`.

    Returns:
        Pieces in the order of the files. A compressed file is in one piece: it can only be read from its beginning.

    Raises:
        DataError: A Parquet file cannot be read.
    """
    pieces: list[Piece] = []
    together: list[Span] = []
    held = 0
    target = shard_bytes or piece_bytes(sum(file.size for file in files))
    for file, units in zip(files, _units(files), strict=True):
        spans = list(_spans(file, units, target))
        if len(spans) > 1 or (held and held + file.size > target):
            pieces += [tuple(together)] if together else []
            together, held = [], 0
        if len(spans) > 1:
            pieces += [(span,) for span in spans]
        elif spans:
            together += spans
            held += file.size
    return (*pieces, tuple(together)) if together else tuple(pieces)


def piece_bytes(total: int) -> int:
    """Give the size of a piece of a data set, as stored.

    Args:
        total: The size of the data set.

    Returns:
        A power of two from 2 MiB to 1 GiB, so that a growing data set keeps it for long. It makes 256 to 512 pieces of
        data sets between 512 MiB and 256 GiB.
    """
    parted = max(1, total // _PARTS)
    return min(max(1 << (parted.bit_length() - 1), _SMALLEST), _LARGEST)


def _units(files: Sequence[SourceFile]) -> Iterator[list[int] | None]:
    """Give the sizes of the row groups of each file that is Parquet."""
    tables = [file for file in files if file.format is Format.PARQUET]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        sizes = iter(list(pool.map(group_sizes, tables)))
    return (next(sizes) if file.format is Format.PARQUET else None for file in files)


def _spans(file: SourceFile, units: list[int] | None, target: int) -> Iterator[Span]:
    if units is not None:
        yield from _group_spans(file, units, target)
    elif file.is_whole:
        yield Span(file, 0, file.size)
    else:
        # A rest of less than half a piece goes with the last one.
        count = max(1, (file.size + target // 2) // target)
        for index in range(count):
            yield Span(file, index * target, file.size if index == count - 1 else (index + 1) * target)


def _group_spans(file: SourceFile, sizes: Iterable[int], target: int) -> Iterator[Span]:
    start = end = held = 0
    for size in sizes:
        if held and held + size > target:
            yield Span(file, start, end)
            start, held = end, 0
        end += 1
        held += size
    if end > start:
        yield Span(file, start, end)
