"""Parquet: columns, rows that cannot be read, what its content is called, and memory."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import Span, bad_record_error, cut, digest, read_batches
from tests.nemotron.data_prep.sources.made import local, read

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.sources import SourceFile


def written(path: Path, table: pa.Table, **options: object) -> SourceFile:
    pq.write_table(table, path, **options)
    (file,) = local(path)
    return file


def groups(file: SourceFile) -> list[Span]:
    return [span for piece in cut([file], 1) for span in piece]


TABLE = pa.table(
    {
        "text": ["one", None, "three", "four é", "five"],
        "id": [1, 2, 3, 4, 5],
        "chat": [[{"role": "user", "content": "a"}], [], None, [{"role": "b", "content": None}], []],
    }
)


def test_row_groups_and_columns(tmp_path: Path) -> None:
    spans = groups(written(tmp_path / "a.parquet", TABLE, row_group_size=2))
    assert len(spans) == 3
    assert read(spans).values == TABLE.to_pylist()
    assert read(spans).numbers == [0, 1, 2, 3, 4]
    assert read(spans[1:2], ["id", "chat"]).values == TABLE.select(["id", "chat"]).slice(2, 2).to_pylist()
    assert read(spans[1:2], ["id"]).numbers == [2, 3]
    assert read(spans, ["nothing", "id"]).values == [{"id": number} for number in range(1, 6)]
    assert read(spans, ["nothing"]).values == [{}] * 5
    assert next(read_batches(spans[0], None)).raw is None
    assert read(spans, limit=1).numbers == [0, 2, 4]


def test_the_digest_is_that_of_the_columns_that_are_read(tmp_path: Path) -> None:
    def digests(name: str, table: pa.Table, *columns: str) -> list[str]:
        file = written(tmp_path / f"{name}.parquet", table, row_group_size=2)
        return [digest(span, columns or None) for span in groups(file)]

    other_ids = TABLE.set_column(1, "id", pa.array([1, 2, 3, 4, 6]))
    assert digests("a", TABLE) == digests("b", TABLE)
    assert digests("a", TABLE, "text", "chat") == digests("b", other_ids, "text", "chat")
    changed = [one != other for one, other in zip(digests("a", TABLE), digests("b", other_ids), strict=True)]
    assert changed == [False, False, True]
    assert digests("a", TABLE, "id") != digests("b", other_ids, "id")
    renamed = TABLE.rename_columns(["body", "id", "chat"])
    assert digests("a", TABLE, "text") != digests("b", renamed, "body")
    chat = TABLE.set_column(2, "chat", pa.array([[{"role": "user", "content": "A"}], [], None, None, []]))
    assert digests("a", TABLE, "chat") != digests("b", chat, "chat")


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    text = pa.array([b"a", b"b", b"\xff\xfe", b"d"] * 30, pa.binary()).view(pa.string())
    (span,) = groups(written(tmp_path / "a.parquet", pa.table({"text": text})))
    found = read([span])
    assert [bad.number for bad in found.bad] == list(range(2, 120, 4))
    assert len(found.values) == 90
    assert found.numbers == [number for number in range(120) if number % 4 != 2]
    message = str(bad_record_error(span, found.bad[0]))
    assert "a.parquet: row 3: the record cannot be read" in message
    assert "utf" in message.lower()


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    table = pa.table({"text": [str(number) * 50 for number in range(1000)]})
    file = written(tmp_path / "a.parquet", table)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:400] = b"\xff" * 396
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: the file is not readable Parquet: "):
        read([Span(file, 0, 1)])
    (tmp_path / "a.parquet").write_bytes(content[:-7])
    with pytest.raises(DataError, match="bytes, and had"):
        digest(Span(file, 0, 1))


def test_memory_is_bounded_for_a_large_row_group(tmp_path: Path) -> None:
    letters = np.random.default_rng(1).integers(97, 122, (2000, 20_000), dtype=np.uint8)
    table = pa.table({"text": [row.tobytes().decode() for row in letters]})
    # A page is read as a whole, and the writer looks at its size only so often.
    (span,) = groups(written(tmp_path / "a.parquet", table, row_group_size=2000, write_batch_size=16))
    del table, letters
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    held = 0
    count = 0
    for batch in read_batches(span, None):
        held = max(held, pa.total_allocated_bytes() - before)
        count += len(batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert (peak < 24 << 20, held < 24 << 20) == (True, True), (peak, held)
