"""What a packing is measured against: lengths like those of conversations, and a bound that no packing can beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIXES = ("chat", "reason")


def lognormal_mix(name: str, count: int, longest: int) -> NDArray[np.int32]:
    """Draw lengths in tokens of short conversations ("chat"), or of those among long ones ("reason")."""
    chance = np.random.default_rng(7)
    if name == "chat":
        lengths = chance.lognormal(6.2, 1.0, count)
    else:
        long = chance.random(count) < 0.6
        lengths = np.where(long, chance.lognormal(7.6, 0.9, count), chance.lognormal(6.0, 0.8, count))
    return np.clip(lengths, 1, longest).astype(np.int32)


def lower_bound_l2(lengths: NDArray[np.int32], capacity: int) -> int:
    """Give the bound L2 of Martello and Toth on the bins that any packing needs.

    For a threshold a, what is longer than capacity - a has a bin of its own, what is longer than half the capacity
    too, and what is at least a has to fit into the room that the latter leave, or into more bins.
    """
    counts = np.bincount(lengths, minlength=capacity + 1)
    number = np.concatenate(([0], np.cumsum(counts)))  # of lengths below the index
    tokens = np.concatenate(([0], np.cumsum(counts * np.arange(capacity + 1))))
    a = np.arange(capacity // 2 + 1)
    over, half = capacity - a + 1, capacity // 2 + 1
    alone = number[-1] - number[over]
    large, large_tokens = number[over] - number[half], tokens[over] - tokens[half]
    missing = tokens[half] - tokens[a] - (large * capacity - large_tokens)
    return int((alone + large + np.maximum(0, -(-missing // capacity))).max())
