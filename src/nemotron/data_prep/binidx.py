"""Megatron's indexed token files: `prefix.bin` with the tokens, `prefix.idx` with the lengths and offsets.

The layout is that of `megatron.core.datasets.indexed_dataset`, little-endian, version 1, one sequence a document.
It is written with numpy alone, because importing megatron-core would bring torch.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.checksums import FileRecord

if TYPE_CHECKING:
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


def token_dtype(vocabulary: int) -> np.dtype[np.generic]:
    """Give the type Megatron would store these tokens in.

    Args:
        vocabulary: Number of token ids.
    """
    return np.dtype("<u2") if vocabulary < _SHORT_VOCABULARY else np.dtype("<i4")


class PairWriter:
    """Writes `prefix.bin` as the tokens come, and `prefix.idx` when all have come.

    Nothing is there before the first sequence, so a pair without sequences has no files. What makes a pair appear
    complete or not at all is the folder that it is written in, which is renamed when it is finished.

    Args:
        prefix: Path without extension; its folder exists.
        dtype: Type of a stored token.
    """

    def __init__(self, prefix: Path, dtype: np.dtype[np.generic]) -> None:
        """Write nothing yet."""
        self._prefix = prefix
        self._dtype = dtype
        self._size = 0
        self._digest = xxhash.xxh64()
        self._lengths: list[npt.NDArray[np.int32]] = []

    def append(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> None:
        """Write sequences.

        Args:
            ids: Their tokens one after the other, shape (tokens,).
            lengths: Tokens of each, shape (sequences,).
        """
        if not len(lengths):
            return
        content = np.ascontiguousarray(ids, dtype=self._dtype).data.cast("B")
        # Opened for each batch, so that nothing stays open where a later record stops the work.
        with tokens_file(self._prefix).open("ab" if self._lengths else "wb") as stream:
            stream.write(content)
        self._size += len(content)
        self._digest.update(content)
        self._lengths.append(lengths.astype(np.int32))

    def close(self) -> dict[str, FileRecord]:
        """Write the index.

        Returns:
            The records of the files by their names; empty when there was nothing to write.
        """
        if not self._lengths:
            return {}
        index = index_file(self._prefix)
        content = _index(np.concatenate(self._lengths), self._dtype)
        index.write_bytes(content)
        return {
            tokens_file(self._prefix).name: FileRecord(self._size, self._digest.hexdigest()),
            index.name: FileRecord(len(content), xxhash.xxh64_hexdigest(content)),
        }


def tokens_file(prefix: Path) -> Path:
    """Give the path of the file with the tokens."""
    return prefix.with_name(prefix.name + ".bin")


def index_file(prefix: Path) -> Path:
    """Give the path of the file with the lengths."""
    return prefix.with_name(prefix.name + ".idx")


def read_pair(prefix: Path) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int32]]:
    """Open a pair.

    Args:
        prefix: Path without extension.

    Returns:
        All tokens as a read-only memory map, shape (tokens,), and the length of each sequence in tokens.

    Raises:
        DataError: A file is missing, or not what its header says.
    """
    index, tokens = index_file(prefix), tokens_file(prefix)
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
    if len(content) < _HEADER.size + 12 * count:
        message = f"the index is shorter than its {count} sequences need"
        raise DataError(message, where=Location(index), remedy="Run the data preparation again.")
    lengths = np.frombuffer(content, dtype="<i4", count=count, offset=_HEADER.size)
    if tokens.stat().st_size != int(lengths.sum(dtype=np.int64)) * dtype.itemsize:
        message = "the token file is not as long as its index says"
        raise DataError(message, where=Location(tokens), remedy="Run the data preparation again.")
    return map_file(tokens, dtype), lengths


def map_file(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Map a file into memory, read-only, without keeping it open: a process may have thousands of them.

    Args:
        path: The file; it has at least one number.
        dtype: Type of its numbers.

    Returns:
        All of them, shape (numbers,).

    Raises:
        OSError: It cannot be read, or is empty.
    """
    size = path.stat().st_size
    # The file is mapped as a whole, and closed; what is read of it decides only what the system fetches ahead of use.
    with pa.memory_map(str(path)) as file:
        first = file.read_buffer(1)
    return np.frombuffer(pa.foreign_buffer(first.address, size, base=first), dtype=dtype)


def _index(lengths: npt.NDArray[np.int32], dtype: np.dtype[np.generic]) -> bytes:
    sizes = lengths.astype("<i4")
    offsets = np.zeros(len(sizes), dtype="<i8")
    np.cumsum(sizes[:-1].astype("<i8") * dtype.itemsize, out=offsets[1:])
    documents = np.arange(len(sizes) + 1, dtype="<i8")
    header = _HEADER.pack(_MAGIC, _VERSION, _CODES[dtype], len(sizes), len(documents))
    return header + sizes.tobytes() + offsets.tobytes() + documents.tobytes()
