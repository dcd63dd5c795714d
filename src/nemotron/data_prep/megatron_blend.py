"""`blend.json`: the token files of each split with their weights, as Megatron reads it (`per_split_data_args_path`).

A split is a flat list, weight and prefix in turn; null where there is none, since Megatron crashes on an empty list.
A prefix's weight is its data set's, in the proportion of its tokens: Megatron samples each prefix by its own weight, so
the same one on a small and a large shard would show the small one's documents more often.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.binidx import index_file, tokens_file
from nemotron.data_prep.blend import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Prefix:
    """A token file.

    Args:
        path: Without extension.
        tokens: How many it holds, above zero.
    """

    path: Path
    tokens: int


@dataclass(frozen=True, slots=True)
class BlendPart:
    """A data set's token files.

    Args:
        weight: Its share of the samples, against the other data sets' weights.
        splits: Its files by split.
    """

    weight: float
    splits: Mapping[str, Sequence[Prefix]]


def compose(parts: Sequence[BlendPart]) -> dict[str, list[str] | None]:
    """Give the content of a blend.

    Args:
        parts: The data sets.

    Returns:
        For each split the flat list of weights and prefixes, or None.

    Raises:
        DataError: A file is missing.
    """
    return {split: [word for part in parts for word in _weighted(part, split)] or None for split in SPLITS}


def write_blend(path: Path, blend: Mapping[str, list[str] | None]) -> None:
    """Write a blend; it appears complete or not at all."""
    partial = path.with_name(f".{path.name}.new")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(blend, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(path)


def _weighted(part: BlendPart, split: str) -> list[str]:
    prefixes = part.splits.get(split, ())
    total = sum(prefix.tokens for prefix in prefixes)
    words = []
    for prefix in prefixes:
        for file in (tokens_file(prefix.path), index_file(prefix.path)):
            if not file.is_file():
                message = "a token file that was just made is gone"
                raise DataError(message, where=Location(file), remedy="Run the data preparation again.")
        words += [repr(part.weight * (prefix.tokens / total)), str(prefix.path)]
    return words
