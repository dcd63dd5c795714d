"""Which sequences go together into a row: best fit, the longest first, over the counts of lengths.

Sequences of one length are the same to the packer, so it works on how many there are of each, and on how many rows
have how much room: its time grows with the distinct lengths, not with the sequences.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = 64


@dataclass(frozen=True, slots=True)
class Bins:
    """Sequence numbers, bin after bin.

    Args:
        order: Numbers of sequences, shape (sequences,).
        offsets: Where each bin starts in `order`, and behind the last one where it ends, shape (bins + 1,).
    """

    order: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Give the number of bins."""
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        """Give the sequence numbers of one bin."""
        return self.order[self.offsets[number] : self.offsets[number + 1]]

    def part(self, start: int, stop: int) -> Bins:
        """Give some of the bins, without copying their contents.

        Args:
            start: The first of them.
            stop: The first that is no longer one of them; one beyond the end means all that are left.
        """
        offsets = self.offsets[start : stop + 1]
        return Bins(self.order[offsets[0] : offsets[-1]], offsets - offsets[0])

    def fills(self, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Give the tokens of each bin.

        Args:
            lengths: Tokens of each sequence, by its number.
        """
        # Summed up and subtracted, because `reduceat` would copy a neighbour's value into an empty bin.
        ends = np.concatenate(([0], np.cumsum(lengths[self.order], dtype=np.int64)))
        return np.diff(ends[self.offsets])


def pack(lengths: NDArray[np.int32], capacity: int, seed: int) -> Bins:
    """Put sequences into as few bins as is easily found: the longest first, each where it leaves the least room.

    Sequences of the same length take each other's places by the seed, and so do the bins, and the sequences in a bin.
    The same arguments give the same bins with every version of numpy: only the raw bits of PCG64, which numpy promises
    never to change, and sorts of distinct or stable keys are used.

    Args:
        lengths: Tokens of each sequence, from 1 to the capacity.
        capacity: Most tokens in a bin.
        seed: Decides the order, not the number of bins.

    Raises:
        ValueError: A sequence has no token, or more than fit.
    """
    if len(lengths) == 0:
        return Bins(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > capacity:
        message = f"sequences of {shortest} to {longest} tokens do not all fit into 1 to {capacity}"
        raise ValueError(message)
    bits = np.random.PCG64(seed)
    patterns = _fit(np.bincount(lengths), capacity)
    kinds = np.repeat(np.arange(len(patterns.counts)), patterns.counts)
    kinds = kinds[_shuffled(bits, np.zeros_like(kinds), np.arange(len(kinds)), len(kinds))]
    sizes = np.diff(patterns.offsets)[kinds]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    bins = np.repeat(np.arange(len(kinds)), sizes)
    places = _shuffled(bits, bins, np.arange(len(lengths)) - offsets[bins], int(sizes.max()))
    places += patterns.offsets[kinds][bins]
    order = np.empty(len(lengths), dtype=np.int64)
    by_length = _shuffled(bits, lengths, np.arange(len(lengths)), len(lengths))
    order[_by_length(patterns.lengths[places])] = by_length
    return Bins(order, offsets)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Bins without sequences: which lengths they hold, and how many bins hold the same.

    Args:
        lengths: Lengths, pattern after pattern.
        offsets: Where each pattern starts, and where the last one ends.
        counts: Bins of each pattern.
    """

    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]


# What a group of like bins holds: what lies below, and so many sequences of one length on top of it.
_Content = tuple["_Content", int, int] | None


class _Rooms:
    """Groups of like bins by the room they have left."""

    def __init__(self) -> None:
        self.groups: dict[int, list[tuple[_Content, int]]] = {}
        self._sorted: list[int] = []

    def put(self, room: int, content: _Content, count: int) -> None:
        if room in self.groups:
            self.groups[room].append((content, count))
        else:
            self.groups[room] = [(content, count)]
            insort(self._sorted, room)

    def take(self, least: int) -> tuple[int, _Content, int] | None:
        """Take out a group with the smallest room that is at least this."""
        place = bisect_left(self._sorted, least)
        if place == len(self._sorted):
            return None
        room = self._sorted[place]
        groups = self.groups[room]
        content, count = groups.pop()
        if not groups:
            del self.groups[room], self._sorted[place]
        return room, content, count


def _fit(counts: NDArray[np.int64], capacity: int) -> _Patterns:
    rooms = _Rooms()
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            found = rooms.take(length)
            room, content, bins = found or (capacity, None, -(-left // (capacity // length)))
            # A bin that has taken one is the best fit for the next, until it has no room for another.
            each = room // length
            full = min(bins, left // each)
            if full:
                rooms.put(room - each * length, (content, length, each), full)
                left -= full * each
            bins -= full
            if bins and left:
                rooms.put(room - left * length, (content, length, left), 1)
                left, bins = 0, bins - 1
            if bins:
                rooms.put(room, content, bins)
    return _flatten(rooms)


def _flatten(rooms: _Rooms) -> _Patterns:
    lengths: list[int] = []
    offsets, counts = [0], []
    for room in sorted(rooms.groups):
        for content, count in rooms.groups[room]:
            level = content
            while level is not None:
                level, length, times = level
                lengths += [length] * times
            offsets.append(len(lengths))
            counts.append(count)
    return _Patterns(*(np.array(values, dtype=np.int64) for values in (lengths, offsets, counts)))


def _shuffled(
    bits: np.random.PCG64, groups: NDArray[np.integer], payload: NDArray[np.int64], bound: int
) -> NDArray[np.int64]:
    """Sort a payload by its groups, and inside a group in an order that the bits decide.

    One sort of 64-bit words, several times as fast as an argsort: the group above, chance, and below it the payload,
    which makes the words distinct.

    Args:
        bits: Where chance comes from.
        groups: The group of each entry, not negative.
        payload: Numbers from 0 to the bound, distinct inside a group.
        bound: The largest that the payload may hold.
    """
    width = int(groups.max()).bit_length()
    words = np.asarray(bits.random_raw(len(payload)), dtype=np.uint64)
    if width:
        words >>= np.uint64(width)
        words |= groups.astype(np.uint64) << np.uint64(_WORD - width)
    mask = np.uint64((1 << bound.bit_length()) - 1)
    words &= ~mask
    words |= payload.view(np.uint64)
    words.sort()
    words &= mask
    return words.view(np.int64)


def _by_length(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Give the positions sorted by length, equal ones in their order."""
    # Numpy sorts 16 bits by radix, an order of magnitude faster than wider keys.
    narrow = np.uint16 if int(lengths.max()) <= np.iinfo(np.uint16).max else np.uint32
    return np.argsort(lengths.astype(narrow), kind="stable")
