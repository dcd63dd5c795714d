"""The token files, byte by byte."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_runspec.errors import DataError
from nemotron.data_prep.binidx import PairWriter, index_file, read_pair, token_dtype, tokens_file
from nemotron.data_prep.shards import FileRecord
from tests.nemotron.data_prep.small import read_sequences, write_pair

if TYPE_CHECKING:
    from pathlib import Path

SEQUENCES = [[5, 6, 0], [7, 0], [8, 9, 10, 0]]


def write(prefix: Path, vocabulary: int = 4096) -> dict[str, FileRecord]:
    return write_pair(prefix, SEQUENCES, token_dtype(vocabulary))


def test_the_index_byte_by_byte(tmp_path: Path) -> None:
    write(tmp_path / "a")
    content = (tmp_path / "a.idx").read_bytes()
    assert content[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<QBQQ", content, 9) == (1, 8, 3, 4)
    assert struct.unpack_from("<3i", content, 34) == (3, 2, 4)
    assert struct.unpack_from("<3q", content, 34 + 12) == (0, 6, 10)
    assert struct.unpack_from("<4q", content, 34 + 36) == (0, 1, 2, 3)
    assert len(content) == 34 + 4 * 3 + 8 * 3 + 8 * 4


def test_the_tokens_stand_one_after_the_other(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert (tmp_path / "a.bin").read_bytes() == struct.pack("<9H", 5, 6, 0, 7, 0, 8, 9, 10, 0)


@pytest.mark.parametrize(("vocabulary", "size", "code"), [(65_499, 2, 8), (65_500, 4, 4)])
def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path, vocabulary: int, size: int, code: int) -> None:
    write(tmp_path / "a", vocabulary)
    assert (tmp_path / "a.bin").stat().st_size == 9 * size
    assert (tmp_path / "a.idx").read_bytes()[17] == code


def test_the_offsets_of_files_above_2_gib_do_not_overflow(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path / "a", token_dtype(100_000))
    # The lengths are what the index is made of; the tokens of a file of that size are not needed for it.
    writer.append(np.asarray([1], dtype=np.int32), np.asarray([2**30, 2**30, 1]))
    writer.close()
    content = (tmp_path / "a.idx").read_bytes()
    assert struct.unpack_from("<3q", content, 34 + 12) == (0, 2**32, 2**33)


def test_the_records_are_those_of_the_files(tmp_path: Path) -> None:
    records = write(tmp_path / "a")
    assert records == {name: FileRecord.of(tmp_path / name) for name in ("a.bin", "a.idx")}
    assert records["a.bin"].bytes == 18


@given(
    st.lists(st.lists(st.lists(st.integers(0, 65_000), min_size=1, max_size=9), max_size=6), max_size=6),
    st.sampled_from([np.int32, np.int64, np.uint16]),
)
def test_several_appends_are_one(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[list[int]]], kind: type[np.integer]
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    whole = [sequence for batch in batches for sequence in batch]
    for name, parts in (("one", [whole]), ("many", batches)):
        writer = PairWriter(folder / name, token_dtype(65_001))
        for part in parts:
            flat = np.asarray([number for sequence in part for number in sequence], dtype=kind)
            writer.append(flat, np.asarray([len(sequence) for sequence in part], dtype=np.int64))
        records = writer.close()
        assert [record.bytes for record in records.values()] == (
            [2 * sum(map(len, whole)), 34 + 20 * len(whole) + 8] if whole else []
        )
    for file in (tokens_file, index_file):
        one, many = file(folder / "one"), file(folder / "many")
        assert one.exists() == many.exists() == bool(whole)
        assert not whole or one.read_bytes() == many.read_bytes()
    assert read_sequences(folder / "many") == whole


def test_no_sequences_make_no_files(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path / "a", token_dtype(10))
    writer.append(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
    assert writer.close() == {}
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_beside_the_pair(tmp_path: Path) -> None:
    write(tmp_path / "a.b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.bin", "a.b.idx"]


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "a")
    tokens, lengths = read_pair(tmp_path / "a")
    assert tokens.tolist() == [5, 6, 0, 7, 0, 8, 9, 10, 0]
    assert lengths.tolist() == [3, 2, 4]


@pytest.mark.parametrize("extension", ["bin", "idx"])
def test_a_missing_file_is_named(tmp_path: Path, extension: str) -> None:
    write(tmp_path / "a")
    (tmp_path / f"a.{extension}").unlink()
    with pytest.raises(DataError, match=rf"a\.{extension}: the token file does not exist"):
        read_pair(tmp_path / "a")


def test_a_short_token_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a")
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
        (struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 8, 3, 4), "shorter than its 3 sequences"),
    ],
)
def test_another_index_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    write(tmp_path / "a")
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_pair(tmp_path / "a")
