from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.training.packed_rows import PackedRows

if TYPE_CHECKING:
    from pathlib import Path


def _write(path: Path, first: int, rows: int, row_group_size: int = 2) -> Path:
    values = range(first, first + rows)
    table = pa.table(
        {
            "input_ids": [[value, value] for value in values],
            "loss_mask": [[1, 0] for _ in values],
            "seq_start_id": [[0] for _ in values],
            "note": ["ignored" for _ in values],
        }
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def test_rows_of_all_files_in_order_across_row_groups(tmp_path: Path) -> None:
    rows = PackedRows([_write(tmp_path / "a.parquet", 0, 5), _write(tmp_path / "b.parquet", 5, 2)])
    assert len(rows) == 7
    assert [rows[index]["input_ids"] for index in range(7)] == [[value, value] for value in range(7)]


def test_a_row_has_plain_lists_of_the_three_columns(tmp_path: Path) -> None:
    row = PackedRows([_write(tmp_path / "a.parquet", 3, 1)])[0]
    assert row == {"input_ids": [3, 3], "loss_mask": [1, 0], "seq_start_id": [0]}


def test_rows_in_any_order(tmp_path: Path) -> None:
    rows = PackedRows([_write(tmp_path / "a.parquet", 0, 5), _write(tmp_path / "b.parquet", 5, 2)])
    assert [rows[index]["input_ids"][0] for index in (6, 0, 4, -1, -7)] == [6, 0, 4, 6, 0]


@pytest.mark.parametrize("index", [2, -3])
def test_a_row_that_is_not_there(tmp_path: Path, index: int) -> None:
    rows = PackedRows([_write(tmp_path / "a.parquet", 0, 2)])
    with pytest.raises(IndexError, match=f"pack {index} of 2"):
        rows[index]


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no packed samples in .*a\.parquet"):
        PackedRows([_write(tmp_path / "a.parquet", 0, 0)])


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("input_ids", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        PackedRows([path])


def test_a_file_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"input_ids": [[1]], "seq_start_id": [[0]]}), path)
    with pytest.raises(DataError, match="lacks loss_mask"):
        PackedRows([path])
