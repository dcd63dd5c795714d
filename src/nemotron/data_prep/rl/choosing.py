"""Which rows go where: each row once, some for validation, and the shares that the weights say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from nemo_runspec.errors import DataError
from nemotron.data_prep.mixing import share_out
from nemotron.data_prep.rl.reading import FITS, TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nemo_runspec.errors import Location
    from nemotron.data_prep.rl.reading import Known, RowSet

SPLITS = ("train", "val", "test")
"""The splits, in the order of their codes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where each row goes.

    Args:
        codes: For each row 0 where it is left out, and otherwise its split, counted from 1 as `SPLITS` has them.
        distinct: How many rows can be used, repeat no earlier one, and have no prompt that is kept from training.
    """

    codes: NDArray[np.uint8]
    distinct: int

    def rows(self) -> dict[str, int]:
        """Give how many rows go to each split."""
        counts = np.bincount(self.codes, minlength=len(SPLITS) + 1).tolist()
        return dict(zip(SPLITS, counts[1:], strict=True))


def choose(known: Known, sets: Sequence[RowSet], val_rows: int, seed: int, where: Location | None) -> Choice:
    """Give each row to a split.

    Args:
        known: All rows.
        sets: The data sets that they are of.
        val_rows: How many rows are kept for validation, of sets whose rows are divided.
        seed: Another seed chooses others.
        where: The blend's file.

    Raises:
        DataError: A split gets no rows.
    """
    fresh = fresh_rows(known)
    codes = np.zeros(len(known.states), np.uint8)
    free: list[NDArray[np.int64]] = []
    if any(row_set.split == "all" for row_set in sets):
        usable = sum(map(len, fresh))
        if usable <= val_rows:
            too_long = int((known.states == TOO_LONG).sum())
            text = f"{usable} rows are left to use, and val_rows keeps {val_rows} of them for validation"
            text += f"; {too_long} have more than max_prompt_tokens" if too_long else ""
            raise DataError(text, where=where, remedy="Add rows, lower 'val_rows', or raise 'max_prompt_tokens'.")
        codes[hold_out(known, fresh, val_rows, seed)] = _code("val")
        free = [places[codes[places] == 0] for places in fresh]
    else:
        for row_set, places in zip(sets, fresh, strict=True):
            if row_set.split != "train":
                codes[places] = _code(row_set.split)
            free.append(places if row_set.split == "train" else places[:0])
    measured = known.keys[codes > 0, 0]
    # Rows that differ in something else may have the same prompt: none is both learnt and measured on.
    free = [places[~np.isin(known.keys[places, 0], measured)] for places in free]
    for places in draw(known, free, [row_set.weight for row_set in sets], seed):
        codes[places] = _code("train")
    choice = Choice(codes, len(measured) + sum(map(len, free)))
    asked = {"train", *(row_set.split for row_set in sets)}
    for split, count in choice.rows().items():
        if split in asked and not count:
            text = f"no row is left to use for {split}"
            raise DataError(text, where=where, remedy="Add rows with prompts that no other row has.")
    return choice


def _code(split: str) -> int:
    return SPLITS.index(split) + 1


def fresh_rows(known: Known) -> list[NDArray[np.int64]]:
    """Give the rows of each set that can be used and whose key no earlier row has.

    Args:
        known: All rows.

    Returns:
        For each set the numbers of its rows, in their order.
    """
    places = np.flatnonzero(known.states == FITS)
    keys = known.keys[places]
    # The sort is stable, so the first of equal keys is the one that was read first.
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    fresh = np.sort(places[order[first]])
    return np.split(fresh, np.searchsorted(fresh, known.bounds[1:-1]))


def hold_out(known: Known, sets: Sequence[NDArray[np.int64]], count: int, seed: int) -> NDArray[np.int64]:
    """Choose rows for validation: of each set its part of them, by the prompt and the seed.

    Args:
        known: All rows.
        sets: The rows of each set.
        count: How many to choose; there are more.
        seed: Another seed chooses others.
    """
    shares, rows = [], []
    for places in sets:
        ranked = places[np.argsort(_dice(known, places, seed, "validation"), kind="stable")][:count]
        rows.append(ranked)
        shares.append((np.arange(len(ranked)) + 0.5) / max(1, len(places)))
    chosen = np.argsort(np.concatenate(shares), kind="stable")[:count]
    return np.sort(np.concatenate(rows)[chosen])


def draw(
    known: Known, sets: Sequence[NDArray[np.int64]], weights: Sequence[float], seed: int
) -> list[NDArray[np.int64]]:
    """Draw from each set as many rows as its weight says, none twice, in the order they have there.

    Args:
        known: All rows.
        sets: The rows of each set.
        weights: The share of each set.
        seed: Another seed draws others.
    """
    filled = [number for number, places in enumerate(sets) if len(places)]
    if not filled:
        return list(sets)
    counts = share_out([len(sets[number]) for number in filled], [weights[number] for number in filled])
    drawn = list(sets)
    for number, count in zip(filled, counts, strict=True):
        places = sets[number]
        if count < len(places):
            ranked = np.argsort(_dice(known, places, seed, "training"), kind="stable")
            drawn[number] = np.sort(places[ranked[:count]])
    return drawn


def _dice(known: Known, places: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.uint64]:
    """Give each row a number that depends on its prompt, the seed and the purpose, and on nothing beside it."""
    mixed: NDArray[np.uint64] = known.keys[places, 0] ^ np.uint64(
        xxhash.xxh3_64_intdigest(f"{seed} {purpose}".encode())
    )
    # The finalizer of MurmurHash3: without it, one seed would only exchange halves of another's order.
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(33)
    return mixed
