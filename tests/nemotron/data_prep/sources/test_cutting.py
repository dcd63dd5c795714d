"""Pieces: together they cover every file once, in order, and depend on nothing but the files."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import Format, Piece, SourceFile, Span, cut
from nemotron.data_prep.sources.cutting import piece_bytes
from tests.nemotron.data_prep.sources.made import local, read

if TYPE_CHECKING:
    from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
SIZES = st.one_of(st.integers(1, 100), st.integers(1, 64 * MIB), st.integers(1, 300 * GIB))


def made(name: str, size: int, compression: str | None = None) -> SourceFile:
    return SourceFile(f"/data/{name}", size, Format.JSON_LINES, compression)


@given(st.lists(st.tuples(SIZES, st.sampled_from([None, "gzip"])), max_size=30))
def test_pieces_cover_every_file_once_and_are_of_even_size(drawn: list[tuple[int, str | None]]) -> None:
    files = [made(str(number), size, compression) for number, (size, compression) in enumerate(drawn)]
    pieces = cut(files, None)
    target = piece_bytes(sum(file.size for file in files))
    spans = [span for piece in pieces for span in piece]
    assert list(dict.fromkeys(span.file for span in spans)) == files
    for file, parts in groupby(spans, key=lambda span: span.file):
        ends = [(part.start, part.end) for part in parts]
        assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]
        assert ends[-1][1] == file.size
        assert file.compression is None or len(ends) == 1
        assert all(end - start <= target * 3 // 2 for start, end in ends) or len(ends) == 1
    for piece in pieces:
        assert len(piece) == 1 or sum(span.end - span.start for span in piece) <= target


@pytest.mark.parametrize(
    ("total", "size"),
    [(0, 2 * MIB), (GIB, 4 * MIB), (2 * GIB, 8 * MIB), (3 * GIB, 8 * MIB), (300 * GIB, GIB), (9000 * GIB, GIB)],
)
def test_the_size_of_a_piece_goes_by_that_of_the_data_set(total: int, size: int) -> None:
    assert piece_bytes(total) == size


def test_small_neighbours_come_together() -> None:
    files = [made(str(number), MIB) for number in range(10)]
    assert [len(piece) for piece in cut(files, None)] == [2, 2, 2, 2, 2]
    assert [len(piece) for piece in cut(files, 3 * MIB)] == [3, 3, 3, 1]
    assert cut(files[:1], None) == ((Span(files[0], 0, MIB),),)
    assert cut([], None) == ()


def test_a_file_that_has_grown_keeps_its_earlier_pieces() -> None:
    before, after = cut([made("a", 1000)], 100), cut([made("a", 1730)], 100)
    ends = [[(span.start, span.end) for (span,) in pieces] for pieces in (before, after)]
    assert ends[1][: len(ends[0])] == ends[0]
    assert ends[1][-2:] == [(1500, 1600), (1600, 1730)]


def test_row_groups_are_put_together_by_their_bytes(tmp_path: Path) -> None:
    table = pa.table({"text": [str(number) * 100 for number in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100, compression="none", use_dictionary=False)
    (file,) = local(tmp_path / "a.parquet")
    pieces: tuple[Piece, ...] = cut([file], 70_000)
    ends = [(span.start, span.end) for (span,) in pieces]
    assert len(ends) > 3
    assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == 10
    assert cut([file], None) == ((Span(file, 0, 10),),)
    assert read(span for (span,) in pieces).values == table.to_pylist()
    assert cut([file], 1) == tuple((Span(file, index, index + 1),) for index in range(10))


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match=r"a\.parquet: the file is not readable Parquet"):
        cut(local(tmp_path), None)


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert read(span for piece in cut(local(tmp_path), None) for span in piece).values == []
