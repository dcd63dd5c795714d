"""Data sets in the shares that their weights say, where no item may come twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def share_out(counts: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Say how many items of each data set make a mix with these shares, as large as it can be without repetition.

    The set with the fewest items for its weight is taken whole, and decides how much of the others fits to it.

    Args:
        counts: Items of each set.
        weights: Their shares, above zero and of any sum. Equal weights mean that nobody asked for a mix: all items
            are taken.

    Returns:
        Items to take of each set, rounded to the nearest; at least one of a set that has any.
    """
    largest = max(weights)
    if min(weights) == largest:
        return list(counts)
    # Against the largest weight all shares are at most 1, so nothing here overflows, however large the weights are.
    shares = [weight / largest for weight in weights]
    size = min(count / share for count, share in zip(counts, shares, strict=True) if share)
    return [min(count, max(1, round(size * share))) for count, share in zip(counts, shares, strict=True)]
