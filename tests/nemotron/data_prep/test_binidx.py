"""The token files, byte by byte."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.binidx import PairStatistics, read_pair, token_dtype, write_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

SEQUENCES = [[5, 6, 0], [7, 0], [8, 9, 10, 0]]


def write(prefix: Path, sequences: list[list[int]], vocabulary: int = 4096) -> PairStatistics:
    return write_pair(prefix, (np.asarray(ids) for ids in sequences), token_dtype(vocabulary))


def test_the_index_byte_by_byte(tmp_path: Path) -> None:
    statistics = write(tmp_path / "part" / "a", SEQUENCES)
    content = (tmp_path / "part" / "a.idx").read_bytes()
    assert content[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<QBQQ", content, 9) == (1, 8, 3, 4)
    assert struct.unpack_from("<3i", content, 34) == (3, 2, 4)
    assert struct.unpack_from("<3q", content, 34 + 12) == (0, 6, 10)
    assert struct.unpack_from("<4q", content, 34 + 36) == (0, 1, 2, 3)
    assert len(content) == 34 + 4 * 3 + 8 * 3 + 8 * 4
    assert statistics == PairStatistics(sequences=3, tokens=9)


def test_the_tokens_stand_one_after_the_other(tmp_path: Path) -> None:
    write(tmp_path / "a", SEQUENCES)
    assert (tmp_path / "a.bin").read_bytes() == struct.pack("<9H", 5, 6, 0, 7, 0, 8, 9, 10, 0)


@pytest.mark.parametrize(("vocabulary", "size", "code"), [(65_499, 2, 8), (65_500, 4, 4)])
def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path, vocabulary: int, size: int, code: int) -> None:
    write(tmp_path / "a", SEQUENCES, vocabulary)
    assert (tmp_path / "a.bin").stat().st_size == 9 * size
    assert (tmp_path / "a.idx").read_bytes()[17] == code


def test_no_sequences_make_no_files(tmp_path: Path) -> None:
    assert write(tmp_path / "a", []) == PairStatistics(0, 0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_beside_the_pair(tmp_path: Path) -> None:
    write(tmp_path / "a.b", SEQUENCES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.bin", "a.b.idx"]


def test_a_writer_that_fails_leaves_no_pair(tmp_path: Path) -> None:
    def broken() -> Iterator[npt.NDArray[np.int64]]:
        yield np.asarray([1, 2])
        message = "the reader broke"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        write_pair(tmp_path / "a", broken(), token_dtype(10))
    assert not (tmp_path / "a.bin").exists()
    assert not (tmp_path / "a.idx").exists()


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "a", SEQUENCES)
    tokens, lengths = read_pair(tmp_path / "a")
    assert tokens.tolist() == [5, 6, 0, 7, 0, 8, 9, 10, 0]
    assert lengths.tolist() == [3, 2, 4]


@pytest.mark.parametrize("extension", ["bin", "idx"])
def test_a_missing_file_is_named(tmp_path: Path, extension: str) -> None:
    write(tmp_path / "a", SEQUENCES)
    (tmp_path / f"a.{extension}").unlink()
    with pytest.raises(DataError, match=rf"a\.{extension}: the token file does not exist"):
        read_pair(tmp_path / "a")


def test_a_short_token_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", SEQUENCES)
    (tmp_path / "a.bin").write_bytes(b"\x05\x00")
    with pytest.raises(DataError, match="not as long as its index says"):
        read_pair(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no Megatron index"),
        (b"x" * 100, "no Megatron index"),
        (struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 2, 8, 0, 1), "version 2"),
        (struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 6, 0, 1), "token type 6"),
    ],
)
def test_another_index_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    write(tmp_path / "a", SEQUENCES)
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_pair(tmp_path / "a")
