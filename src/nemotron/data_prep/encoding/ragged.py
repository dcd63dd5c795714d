"""Rows of token ids in one flat array, and rows that are put together from texts and special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of token ids.

    Args:
        ids: The ids of all rows, one row after the other, int32 of shape (tokens,).
        offsets: Where each row begins in `ids`, and at last where the last row ends, int64 of shape (rows + 1,).
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Give the number of tokens in each row."""
        return np.diff(self.offsets)

    def rows(self) -> Iterator[NDArray[np.int32]]:
        """Give each row as a view of `ids`."""
        bounds = self.offsets.tolist()
        for start, end in pairwise(bounds):
            yield self.ids[start:end]


def from_lengths(ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> Ragged:
    """Give the rows that follow each other in `ids`.

    Args:
        ids: The ids of all rows.
        lengths: The number of tokens in each row; they add up to the number of ids.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged(ids, offsets)


def encode_rows(encode: Callable[[Sequence[str]], Ragged], items: Sequence[Sequence[str | int]]) -> Ragged:
    """Encode rows of texts and special tokens, with one call for all texts.

    Args:
        encode: Encodes texts; each one's ids are its own, whatever stands beside it.
        items: Rows of texts and ids of special tokens.

    Returns:
        The ids of each row's parts, one after the other.
    """
    parts = [part for item in items for part in item]
    special = np.fromiter((isinstance(part, int) for part in parts), dtype=np.bool_, count=len(parts))
    texts = encode([part for part in parts if isinstance(part, str)])
    lengths = np.ones(len(parts), dtype=np.int64)
    lengths[~special] = texts.lengths()
    by_part = from_lengths(np.empty(int(lengths.sum()), dtype=np.int32), lengths)
    at = by_part.offsets[:-1][special]
    by_part.ids[at] = [part for part in parts if isinstance(part, int)]
    of_text = np.ones(len(by_part.ids), dtype=np.bool_)
    of_text[at] = False
    by_part.ids[of_text] = texts.ids
    ends = np.cumsum([0, *(len(item) for item in items)])
    return Ragged(by_part.ids, by_part.offsets[ends])
