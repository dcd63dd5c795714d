"""Megatron's indexed token files: `prefix.bin` with the tokens, `prefix.idx` with the lengths and offsets.

The layout is that of `megatron.core.datasets.indexed_dataset`, little-endian, version 1, one sequence a document.
It is written with numpy alone, because importing megatron-core would bring torch.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_CODES: dict[np.dtype[np.generic], int] = {
    np.dtype("<u1"): 1,
    np.dtype("<i4"): 4,
    np.dtype("<i8"): 5,
    np.dtype("<u2"): 8,
}
_HEADER = struct.Struct("<9sQBQQ")
# Megatron's own writer changes to 32 bits here, a little below the type's limit.
_SHORT_VOCABULARY = 65_500


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """What a written pair holds.

    Args:
        sequences: How many sequences, each a document.
        tokens: Tokens in all.
    """

    sequences: int
    tokens: int


def token_dtype(vocabulary: int) -> np.dtype[np.generic]:
    """Give the type Megatron would store these tokens in.

    Args:
        vocabulary: Number of token ids.
    """
    return np.dtype("<u2") if vocabulary < _SHORT_VOCABULARY else np.dtype("<i4")


def write_pair(
    prefix: Path, sequences: Iterable[npt.NDArray[np.integer]], dtype: np.dtype[np.generic]
) -> PairStatistics:
    """Write `prefix.bin` and `prefix.idx`.

    The pair appears complete or not at all: `.bin` is renamed into place last. No sequences, no files.

    Args:
        prefix: Path without extension.
        sequences: Token ids of each document, in order.
        dtype: Type of a stored token.

    Returns:
        What was written.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    lengths: list[int] = []

    def body(stream: BinaryIO) -> None:
        for sequence in sequences:
            stream.write(sequence.astype(dtype).tobytes())
            lengths.append(len(sequence))

    tokens = _write(prefix.with_name(prefix.name + ".bin.tmp"), body)
    if not lengths:
        tokens.unlink()
        return PairStatistics(0, 0)
    content = _index(lengths, dtype)

    def header(stream: BinaryIO) -> None:
        stream.write(content)

    index = _write(prefix.with_name(prefix.name + ".idx.tmp"), header)
    index.rename(prefix.with_name(prefix.name + ".idx"))
    tokens.rename(prefix.with_name(prefix.name + ".bin"))
    return PairStatistics(len(lengths), sum(lengths))


def read_pair(prefix: Path) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int32]]:
    """Open a pair.

    Args:
        prefix: Path without extension.

    Returns:
        All tokens as a read-only memory map, shape (tokens,), and the length of each sequence in tokens.

    Raises:
        DataError: A file is missing, or not what its header says.
    """
    index = prefix.with_name(prefix.name + ".idx")
    tokens = prefix.with_name(prefix.name + ".bin")
    for path in (index, tokens):
        if not path.is_file():
            message = "the token file does not exist"
            raise DataError(message, where=Location(path), remedy="Run the data preparation again.")
    content = index.read_bytes()
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        message = "this is no Megatron index"
        raise DataError(message, where=Location(index), remedy="Run the data preparation again.")
    _, version, code, count, _ = _HEADER.unpack_from(content)
    dtype = next((dtype for dtype, known in _CODES.items() if known == code), None)
    if version != _VERSION or dtype is None:
        message = f"the index has version {version} and token type {code}"
        raise DataError(message, where=Location(index), remedy="Run the data preparation again.")
    lengths = np.frombuffer(content, dtype="<i4", count=count, offset=_HEADER.size)
    if tokens.stat().st_size != int(lengths.sum(dtype=np.int64)) * dtype.itemsize:
        message = "the token file is not as long as its index says"
        raise DataError(message, where=Location(tokens), remedy="Run the data preparation again.")
    return np.memmap(tokens, dtype=dtype, mode="r"), lengths


def _index(lengths: list[int], dtype: np.dtype[np.generic]) -> bytes:
    sizes = np.asarray(lengths, dtype="<i4")
    offsets = np.zeros(len(lengths), dtype="<i8")
    np.cumsum(sizes[:-1].astype("<i8") * dtype.itemsize, out=offsets[1:])
    documents = np.arange(len(lengths) + 1, dtype="<i8")
    header = _HEADER.pack(_MAGIC, _VERSION, _CODES[dtype], len(sizes), len(documents))
    return header + sizes.tobytes() + offsets.tobytes() + documents.tobytes()


def _write(path: Path, body: Callable[[BinaryIO], None]) -> Path:
    with path.open("wb") as stream:
        body(stream)
        stream.flush()
        os.fsync(stream.fileno())
    return path
