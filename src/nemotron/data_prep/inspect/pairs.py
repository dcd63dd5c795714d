"""Token files of pretraining: one pair, or the pairs that a blend or a folder names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.binidx import read_pair
from nemotron.data_prep.inspect.view import Passage, Table, View, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemotron.data_prep.inspect.decoding import Decoder
    from nemotron.data_prep.inspect.view import Wanted

SHOWN_TOKENS = 200
"""Tokens of a sequence that are shown, unless somebody asked for that row."""
SPLITS = ("train", "valid", "test")


def show_pair(prefix: Path, wanted: Wanted, decoder: Decoder) -> View:
    """Show a `.bin/.idx` pair.

    Args:
        prefix: Path without extension.
        wanted: Which sequences.
        decoder: Turns their ids into text.

    Raises:
        DataError: A file is missing or damaged, or there is no such row.
    """
    tokens, lengths = read_pair(prefix)
    facts: dict[str, object] = {
        "dtype": str(tokens.dtype),
        "bytes_per_token": tokens.dtype.itemsize,
        "sequences": len(lengths),
        "tokens": len(tokens),
        "sequence_length": spread(lengths),
    }
    return View("token pair", prefix, facts, passages=tuple(_sequences(prefix, wanted, decoder)))


def _sequences(prefix: Path, wanted: Wanted, decoder: Decoder) -> Iterator[Passage]:
    tokens, lengths = read_pair(prefix)
    ends = np.cumsum(lengths, dtype=np.int64)
    for number in wanted.numbers(len(lengths), prefix):
        ids = tokens[ends[number] - lengths[number] : ends[number]]
        shown = ids if wanted.row is not None else ids[:SHOWN_TOKENS]
        cut = len(shown) < len(ids)
        left = f"{len(ids) - len(shown):,} more tokens (--row {number} shows all)" if cut else ""
        facts = {"row": number, "tokens": len(ids), "ids": shown.tolist()}
        yield Passage(f"row {number}: {len(ids):,} tokens", decoder.pieces(shown, cut=cut), left, facts)


def blend_splits(path: Path) -> dict[str, list[tuple[float, Path]]] | None:
    """Read which token files a blend names.

    Args:
        path: A JSON file.

    Returns:
        For each split the weights and prefixes; None where the file is something else.

    Raises:
        DataError: The blend is one, but broken.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not document or not set(document) <= set(SPLITS):
        return None
    splits: dict[str, list[tuple[float, Path]]] = {}
    for split, value in document.items():
        entries = value.split() if isinstance(value, str) else value or []
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            return None
        try:
            # Megatron takes an odd number of entries for prefixes without weights.
            weighted = zip(entries[::2], entries[1::2], strict=True) if len(entries) % 2 == 0 else _unweighted(entries)
            splits[split] = [(float(weight), _prefix(path, prefix)) for weight, prefix in weighted]
        except ValueError as error:
            message = f"the split '{split}' is no list of weights and prefixes in turn: {error}"
            raise DataError(message, where=Location(path), remedy="Run the data preparation again.") from error
    return splits


def _unweighted(entries: list[str]) -> Iterator[tuple[str, str]]:
    return (("1", prefix) for prefix in entries)


def _prefix(blend: Path, prefix: str) -> Path:
    # Relative ones are the working directory's to Megatron; whoever looks at the data may be elsewhere.
    beside = blend.parent / prefix
    return beside if beside.with_name(beside.name + ".idx").is_file() else Path(prefix)


def read_json(path: Path) -> object:
    """Read a JSON file.

    Args:
        path: The file.

    Raises:
        DataError: It is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        message = f"the file is not JSON: {error}"
        raise DataError(message, where=Location(path, line), remedy="Name prepared data.") from error


@dataclass(frozen=True, slots=True)
class _Counts:
    sequences: int | None
    tokens: int | None


def show_blend(path: Path, splits: dict[str, list[tuple[float, Path]]], wanted: Wanted, decoder: Decoder) -> View:
    """Show the pairs of a blend, or of a folder.

    Args:
        path: The blend or the folder.
        splits: For each split the weights and prefixes.
        wanted: Which sequences of the first pair.
        decoder: Turns their ids into text.
    """
    problems: dict[Path, str] = {}
    facts: dict[str, object] = {}
    tables = []
    for split, entries in splits.items():
        counts = [_count(prefix, problems) for _, prefix in entries]
        total = sum(weight for weight, _ in entries)
        rows = tuple(
            (weight, round(100 * weight / total, 2) if total else None, count.sequences, count.tokens, str(prefix))
            for (weight, prefix), count in zip(entries, counts, strict=True)
        )
        tables.append(Table(split, ("weight", "percent", "sequences", "tokens", "prefix"), rows))
        tokens = sum(count.tokens or 0 for count in counts)
        facts |= {f"{split}_pairs": len(entries), f"{split}_tokens": tokens} if entries else {split: "none"}
    prefix = next((prefix for entries in splits.values() for _, prefix in entries if prefix not in problems), None)
    passages = tuple(_sequences(prefix, wanted, decoder)) if prefix else ()
    notes = (f"the rows are those of {prefix}",) if passages else ()
    kind = "blend of token pairs" if path.is_file() else "folder of token pairs"
    return View(kind, path, facts, tuple(tables), passages, notes, tuple(problems.values()))


def _count(prefix: Path, problems: dict[Path, str]) -> _Counts:
    try:
        tokens, lengths = read_pair(prefix)
    except DataError as error:
        problems[prefix] = f"{error.where}: {error.message}"
        return _Counts(None, None)
    return _Counts(len(lengths), len(tokens))
