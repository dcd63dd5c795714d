"""Prepared data as training examples: windows of a token stream, and conversations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.binidx import read_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nemotron.data_prep.packing import Sample

# What the loss function leaves out.
IGNORED = -100

Example = dict[str, "npt.NDArray[np.int64]"]


@dataclass(frozen=True, slots=True)
class Stream:
    """The tokens of one token file, and its share of the training samples."""

    tokens: npt.NDArray[np.integer]
    weight: float


def read_blend(path: Path, split: str) -> list[Stream]:
    """Open the token files of a split.

    Args:
        path: The `blend.json` of a data preparation: a flat list of weights and prefixes for each split, or null.
        split: `train` or `valid`.

    Returns:
        The streams; none where the split is null.

    Raises:
        DataError: The blend or a file it names is missing or damaged.
    """
    return [Stream(read_pair(Path(prefix))[0], weight) for weight, prefix in _blend_entries(path, split)]


def blend_files(path: Path) -> list[str]:
    """Give the token files that a blend names; they need not be in its folder.

    Args:
        path: As for `read_blend`.

    Raises:
        DataError: The blend is missing or damaged.
    """
    prefixes = [prefix for split in ("train", "valid") for _, prefix in _blend_entries(path, split)]
    return [prefix + ending for prefix in prefixes for ending in (".bin", ".idx")]


def _blend_entries(path: Path, split: str) -> list[tuple[float, str]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))[split] or []
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        message = f"this is not the blend of a data preparation: {error}"
        remedy = "Run `nemotron nano3 data prep pretrain`, or correct the config entry 'data.path'."
        raise DataError(message, where=Location(path), remedy=remedy) from error
    return [(float(weight), prefix) for weight, prefix in zip(entries[::2], entries[1::2], strict=True)]


class Windows(Dataset[Example]):
    """Windows of equal length, cut from streams in the proportion of their weights.

    A window may hold the end of one document and the beginning of the next, as in Megatron's own data set.

    Args:
        streams: What to cut from.
        length: Tokens in a window.
        count: How many windows; a stream that is used up starts again in another order.
        seed: Decides the order.
        repeat: Whether it does so; otherwise it gives what it has, and there are fewer windows in all.

    Raises:
        DataError: A stream is shorter than a window.
    """

    def __init__(self, streams: Sequence[Stream], length: int, count: int, seed: int, *, repeat: bool = True) -> None:
        """Decide which window comes when."""
        self._streams = streams
        self._length = length
        order = np.random.default_rng(seed)
        total = sum(stream.weight for stream in streams)
        ends = np.round(np.cumsum([stream.weight for stream in streams]) / total * count).astype(int)
        self._index: list[tuple[int, int]] = []
        for number, (stream, wanted) in enumerate(zip(streams, np.diff(ends, prepend=0), strict=True)):
            windows = len(stream.tokens) // length
            if windows == 0:
                message = f"a token file has {len(stream.tokens)} tokens, fewer than a sequence of {length}"
                raise DataError(message, remedy="Prepare more text, or lower train.sequence_length.")
            rounds = -(-int(wanted) // windows) if repeat else 1
            places = np.concatenate([order.permutation(windows) for _ in range(rounds)] or [np.empty(0, int)])
            self._index += [(number, int(place)) for place in places[:wanted]]
        order.shuffle(self._index)

    def __len__(self) -> int:
        """Give the number of windows."""
        return len(self._index)

    def __getitem__(self, position: int) -> Example:
        """Give a window: its tokens are the labels too, which the model shifts by one."""
        number, place = self._index[position]
        window = self._streams[number].tokens[place * self._length : (place + 1) * self._length]
        ids = np.asarray(window, dtype=np.int64)
        return {"input_ids": ids, "labels": ids}


class Conversations(Dataset[Example]):
    """Conversations in batches of similar length, so that little of a batch is padding.

    The packed rows are taken apart again: without its CUDA kernels a Mamba layer has no way to forget one conversation
    before the next one in the same row, so each gets a row of its own.

    Args:
        samples: The conversations.
        batch_size: How many are trained on together.
        count: How many to give in all; when all were seen they come again in another order.
        seed: Decides the order.
    """

    _SORTED_TOGETHER = 16  # batches: long enough to find like lengths, short enough to keep the order mixed

    def __init__(self, samples: Sequence[Sample], batch_size: int, count: int, seed: int) -> None:
        """Decide which conversation comes when."""
        self._samples = samples
        order = np.random.default_rng(seed)
        rounds = -(-count // len(samples))
        places = np.concatenate([order.permutation(len(samples)) for _ in range(rounds)])[:count]
        span = batch_size * self._SORTED_TOGETHER
        self._index: list[int] = []
        for start in range(0, count, span):
            group = sorted(places[start : start + span], key=lambda place: len(samples[place].ids))
            batches = [group[first : first + batch_size] for first in range(0, len(group), batch_size)]
            self._index += [int(place) for batch in order.permutation(len(batches)) for place in batches[batch]]

    def __len__(self) -> int:
        """Give the number of conversations."""
        return len(self._index)

    def __getitem__(self, position: int) -> Example:
        """Give a conversation; what is not the assistant's is not among the labels."""
        return conversation_example(self._samples[self._index[position]])


def conversation_example(sample: Sample) -> Example:
    """Give a packed conversation as an example.

    The stored mask says of a position whether the token after it is trained on; a label stands at the token itself.

    Args:
        sample: The conversation.
    """
    ids = sample.ids.astype(np.int64)
    trained = np.concatenate([[False], sample.mask[:-1].astype(bool)])
    return {"input_ids": ids, "labels": np.where(trained, ids, IGNORED)}


def collate(examples: Sequence[Example]) -> dict[str, Any]:
    """Make a batch of examples, padded on the right to the longest.

    Padding is masked, and never a label, so its id does not matter.

    Args:
        examples: What to batch.

    Returns:
        `input_ids`, `labels` and `attention_mask`, each of shape (examples, tokens).
    """
    longest = max(len(example["input_ids"]) for example in examples)
    batch = {
        "input_ids": np.zeros((len(examples), longest), dtype=np.int64),
        "labels": np.full((len(examples), longest), IGNORED, dtype=np.int64),
        "attention_mask": np.zeros((len(examples), longest), dtype=np.int64),
    }
    for row, example in enumerate(examples):
        size = len(example["input_ids"])
        batch["input_ids"][row, :size] = example["input_ids"]
        batch["labels"][row, :size] = example["labels"]
        batch["attention_mask"][row, :size] = 1
    return {name: torch.from_numpy(values) for name, values in batch.items()}
