from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.packing import Sample, pack, read_packed, write_packed

if TYPE_CHECKING:
    from pathlib import Path


def sample(length: int, value: int) -> Sample:
    mask = np.ones(length, dtype=np.uint8)
    mask[-1] = 0
    return Sample(np.full(length, value, dtype=np.int32), mask)


def test_every_sequence_is_packed_once_and_no_row_is_too_long() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 500).tolist()
    rows = pack(lengths, 100, seed=1)
    assert sorted(index for row in rows for index in row) == list(range(500))
    fills = [sum(lengths[index] for index in row) for row in rows]
    assert max(fills) <= 100
    assert len(rows) <= sum(lengths) / 100 * 1.02 + 1


def test_the_order_is_the_seed_s() -> None:
    lengths = [60, 50, 40, 30, 20, 10] * 5
    assert pack(lengths, 100, seed=1) == pack(lengths, 100, seed=1)
    assert pack(lengths, 100, seed=1) != pack(lengths, 100, seed=2)


def test_the_file_has_the_columns_and_row_groups_of_the_format(tmp_path: Path) -> None:
    samples = [sample(10, value) for value in range(100)]
    assert write_packed(tmp_path / "split" / "0.parquet", samples, 10, seed=1) == 100
    file = pq.ParquetFile(tmp_path / "split" / "0.parquet")
    assert file.schema_arrow.names == ["input_ids", "loss_mask", "seq_start_id"]
    assert [field.type for field in file.schema_arrow] == [
        pa.list_(pa.int32()),
        pa.list_(pa.uint8()),
        pa.list_(pa.int32()),
    ]
    assert file.metadata.row_group(0).num_rows == 32
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_row_says_where_its_sequences_start(tmp_path: Path) -> None:
    write_packed(tmp_path / "0.parquet", [sample(4, 1), sample(3, 2), sample(2, 3)], 9, seed=1)
    (row,) = pq.read_table(tmp_path / "0.parquet").to_pylist()
    starts = row["seq_start_id"]
    assert starts[0] == 0
    assert len(row["input_ids"]) == len(row["loss_mask"]) == 9
    assert [row["input_ids"][start] for start in starts] == list(dict.fromkeys(row["input_ids"]))
    ends = [*starts[1:], 9]
    assert [row["loss_mask"][end - 1] for end in ends] == [0, 0, 0]


def test_reading_gives_the_sequences_back(tmp_path: Path) -> None:
    write_packed(tmp_path / "0.parquet", [sample(length, length) for length in (5, 3, 8, 2)], 9, seed=3)
    found = sorted(read_packed(tmp_path), key=lambda item: len(item.ids))
    assert [item.ids.tolist() for item in found] == [[2] * 2, [3] * 3, [5] * 5, [8] * 8]
    assert [item.mask.tolist() for item in found] == [[1] * (n - 1) + [0] for n in (2, 3, 5, 8)]


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no packed parquet file"):
        list(read_packed(tmp_path))


def test_other_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "0.parquet")
    with pytest.raises(DataError, match=r"0\.parquet: the columns are text"):
        list(read_packed(tmp_path))
