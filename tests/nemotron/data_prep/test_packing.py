from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from nemotron.data_prep.packing import Sample, read_packed
from tests.nemotron.data_prep.small import write_packed

if TYPE_CHECKING:
    from pathlib import Path


def sample(length: int, value: int) -> Sample:
    mask = np.ones(length, dtype=np.uint8)
    mask[-1] = 0
    return Sample(np.full(length, value, dtype=np.int32), mask)


def test_a_row_says_where_its_sequences_start(tmp_path: Path) -> None:
    assert write_packed(tmp_path / "0.parquet", [sample(4, 1), sample(3, 2), sample(2, 3)], 9, seed=1) == 1
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
