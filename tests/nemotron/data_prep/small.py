"""Small things that tests of the preparations need: a tokenizer, a pair of token files, a piece of a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from nemotron.data_prep.binidx import PairWriter, read_pair
from nemotron.data_prep.encoding import EngineSpec, load_encoder
from nemotron.data_prep.packing import EncodedShard, Sequences, pack, write_rows
from nemotron.data_prep.sources import cut, list_files
from nemotron.data_prep.tokenizer import TextTokenizer, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nemotron.data_prep.packing import Sample
    from nemotron.data_prep.shards import FileRecord
    from nemotron.data_prep.sources import Piece

TEXTS = ["def add(a, b):\n    return a + b\n", "def sub(a, b):\n    return a - b\n", "class Adder:\n    pass\n"] * 5


def small_tokenizer(folder: Path) -> TextTokenizer:
    """Train a tokenizer of 280 tokens."""
    return train_tokenizer(TEXTS, 280, folder)


def engine_of(tokenizer: TextTokenizer) -> EngineSpec:
    """Say that the tokenizers library encodes."""
    return EngineSpec(str(tokenizer.json_file), "hf", tokenizer.digest)


def encode_text(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Encode a text of data, in which the name of a special token is text."""
    ids: list[int] = load_encoder(engine_of(tokenizer)).encode([text]).ids.tolist()
    return ids


def encode_markup(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Encode a piece of a rendered template, in which special tokens are meant as such."""
    ids: list[int] = load_encoder(engine_of(tokenizer)).encode_segments([tokenizer.specials.split(text)]).ids.tolist()
    return ids


def write_pair(prefix: Path, sequences: Iterable[npt.ArrayLike], dtype: np.dtype[np.generic]) -> dict[str, FileRecord]:
    """Write sequences as a pair of token files, each for itself."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    writer = PairWriter(prefix, dtype)
    for sequence in sequences:
        ids = np.asarray(sequence)
        writer.append(ids, np.asarray([len(ids)]))
    return writer.close()


def read_sequences(prefix: Path) -> list[list[int]]:
    """Read the sequences of a pair; none where there is no pair."""
    if not prefix.with_name(f"{prefix.name}.idx").exists():
        return []
    tokens, lengths = read_pair(prefix)
    return [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]


def write_lines(path: Path, records: Iterable[object]) -> Path:
    """Write JSON lines; text stands for a line as it is."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def pieces_of(*paths: Path, shard_bytes: int | None = None, document: str = "file") -> tuple[Piece, ...]:
    """Cut files into pieces."""
    found = (list_files(str(path), base=path.parent, split=None, subset=None, document=document) for path in paths)
    return cut([file for files in found for file in files], shard_bytes)


def whole(*paths: Path, document: str = "file") -> Piece:
    """Give files as one piece."""
    return tuple(span for piece in pieces_of(*paths, document=document) for span in piece)


def write_packed(path: Path, samples: Sequence[Sample], pack_size: int, seed: int) -> int:
    """Pack sequences that are in memory, and write them.

    Args:
        path: The file; it appears complete or not at all.
        samples: The sequences.
        pack_size: Most tokens in a row.
        seed: Decides the order of the rows.

    Returns:
        How many rows it has.
    """
    ends = np.cumsum([len(sample.ids) for sample in samples], dtype=np.int64)
    shard = EncodedShard(
        np.concatenate([sample.ids for sample in samples]),
        np.concatenate([sample.mask for sample in samples]),
        np.concatenate(([0], ends)),
    )
    sequences = Sequences([shard])
    bins = pack(sequences.lengths, pack_size, seed)
    write_rows(path, sequences, bins)
    return len(bins)
