from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_runspec.errors import DataError
from nemotron.data_prep.packing import (
    EncodedShard,
    PackedFile,
    Sequences,
    longest_sequence,
    pack,
    pack_metadata,
    read_packed,
    write_metadata,
    write_rows,
)
from tests.nemotron.data_prep.packing.bound import lognormal_mix
from tests.nemotron.data_prep.packing.bridge import collate, cut_for_context_parallel, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.packing import Bins

EOS = 2
Tokens = tuple[list[int], list[int]]


def make_shard(sequences: Sequence[Tokens]) -> EncodedShard:
    flat = [np.concatenate([np.zeros(0, dtype=np.int64), *(item[part] for item in sequences)]) for part in (0, 1)]
    offsets = np.concatenate(([0], np.cumsum([len(ids) for ids, _ in sequences], dtype=np.int64)))
    return EncodedShard(flat[0].astype(np.int32), flat[1].astype(np.uint8), offsets)


def numbered(count: int, length: int) -> Sequences:
    """Give sequences that hold their own number, trained in their second half."""
    mask = [int(place >= length // 2) for place in range(length - 1)] + [0]
    return Sequences([make_shard([([number] * length, mask) for number in range(count)])])


def write(folder: Path, sequences: Sequences, capacity: int, seed: int = 1) -> tuple[Path, Bins]:
    bins = pack(sequences.lengths, capacity, seed)
    write_rows(folder / "0.parquet", sequences, bins)
    return folder / "0.parquet", bins


@st.composite
def shards(draw: st.DrawFn) -> list[list[Tokens]]:
    one = st.integers(1, 20).flatmap(
        lambda length: st.tuples(
            st.lists(st.integers(3, 2**31 - 1), min_size=length, max_size=length),
            st.lists(st.integers(0, 1), min_size=length - 1, max_size=length - 1).map(lambda mask: [*mask, 0]),
        )
    )
    return draw(st.lists(st.lists(one, max_size=30), min_size=1, max_size=3).filter(any))


@settings(max_examples=60, deadline=None)
@given(content=shards(), multiple=st.sampled_from([1, 2, 3, 4, 8]), room=st.integers(0, 30), seed=st.integers(0, 99))
def test_the_library_gets_every_sequence_and_its_mask(
    content: list[list[Tokens]], multiple: int, room: int, seed: int
) -> None:
    sequences = Sequences([make_shard(shard) for shard in content], multiple=multiple, pad_id=EOS)
    capacity = int(sequences.lengths.max()) + room
    expected = []
    for ids, mask in (item for shard in content for item in shard):
        padding = -(len(ids) - 1) % multiple
        full, shifted = ids + [EOS] * padding, mask + [0] * padding
        expected.append((full[:-1], full[1:], shifted[:-1]))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write(Path(folder), sequences, capacity, seed)
        for row in read_rows(path):
            assert len(row["input_ids"]) == len(row["loss_mask"]) <= capacity
            batch = collate(row, capacity)
            found += batch.sequences()
            assert all(boundary % multiple == 0 for boundary in batch.cu_seqlens)
        samples = [(item.ids.tolist(), item.mask.tolist()) for item in read_packed(Path(folder))]
    assert sorted(found) == sorted(expected)
    assert sorted((ids[:-1], ids[1:], mask[:-1]) for ids, mask in samples) == sorted(expected)


def test_padded_sequences_are_cut_evenly_for_context_parallelism(tmp_path: Path) -> None:
    ranks = 4
    lengths = [1 + length % 37 for length in range(100)]
    shard = make_shard([([7] * length, [1] * (length - 1) + [0]) for length in lengths])
    path, _ = write(tmp_path, Sequences([shard], multiple=2 * ranks, pad_id=EOS), 100)
    for row in read_rows(path):
        batch = collate(row, 100)
        pairs = list(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True))
        cut = [p for rank in range(ranks) for a, b in pairs for p in cut_for_context_parallel(a, b, ranks, rank)]
        assert sorted(cut) == list(range(len(batch.tokens)))
        padding = [place for place, label in enumerate(batch.labels) if label == EOS]
        assert not any(batch.loss_mask[place] for place in padding)


@pytest.mark.parametrize(("pack_size", "multiple", "longest"), [(4096, 1, 4096), (4096, 8, 4089), (9, 8, 9), (8, 8, 1)])
def test_the_longest_sequence_that_fits(pack_size: int, multiple: int, longest: int) -> None:
    assert longest_sequence(pack_size, multiple) == longest
    shard = make_shard([([5] * longest, [0] * longest)])
    assert Sequences([shard], multiple=multiple).lengths.tolist() == [longest]
    longer = make_shard([([5] * (longest + 1), [0] * (longest + 1))])
    assert Sequences([longer], multiple=multiple).lengths[0] > pack_size


def test_the_file_has_the_columns_and_row_groups_of_the_format(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "split", numbered(100, 10), 10)
    file = pq.ParquetFile(path)
    assert file.schema_arrow.names == ["input_ids", "loss_mask", "seq_start_id"]
    kinds = [pa.list_(pa.int32()), pa.list_(pa.uint8()), pa.list_(pa.int32())]
    assert [field.type for field in file.schema_arrow] == kinds
    assert [file.metadata.row_group(group).num_rows for group in range(4)] == [32, 32, 32, 4]
    assert {file.metadata.row_group(0).column(column).compression for column in range(3)} == {"ZSTD"}
    assert [path.name for path in (tmp_path / "split").iterdir()] == ["0.parquet"]


def test_parts_of_the_bins_make_the_same_rows(tmp_path: Path) -> None:
    sequences = numbered(200, 7)
    path, bins = write(tmp_path, sequences, 30)
    for start in range(0, len(bins), 20):
        write_rows(tmp_path / f"part{start:03}.parquet", sequences, bins.part(start, start + 20))
    parts = [row for part in sorted(tmp_path.glob("part*")) for row in read_rows(part)]
    assert parts == list(read_rows(path))


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    first, _ = write(tmp_path / "a", numbered(100, 9), 64)
    second, _ = write(tmp_path / "b", numbered(100, 9), 64)
    other, _ = write(tmp_path / "c", numbered(100, 9), 64, seed=2)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    sequences = numbered(100, 9)
    bins = pack(sequences.lengths, 64, 1)
    broken = numbered(50, 9)  # the bins name sequences that these are not
    with pytest.raises(IndexError):
        write_rows(tmp_path / "0.parquet", broken, bins)
    assert list(tmp_path.iterdir()) == []


def test_writing_holds_a_row_group_not_the_data(tmp_path: Path) -> None:
    lengths = lognormal_mix("reason", 4000, 4096).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    for name, kind in (("ids", np.int32), ("mask", np.uint8)):
        np.zeros(offsets[-1], dtype=kind).tofile(tmp_path / name)
    ids = np.memmap(tmp_path / "ids", dtype=np.int32, mode="r")
    sequences = Sequences([EncodedShard(ids, np.memmap(tmp_path / "mask", dtype=np.uint8, mode="r"), offsets)])
    bins = pack(sequences.lengths, 4096, 1)
    tracemalloc.start()
    write_rows(tmp_path / "0.parquet", sequences, bins)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ids.nbytes > 20_000_000
    assert peak < 5_000_000


def test_metadata_tells_the_lengths_of_run_time(tmp_path: Path) -> None:
    sequences = Sequences([make_shard([([5] * length, [0] * length) for length in (9, 5, 5, 3)])])
    path, bins = write(tmp_path, sequences, 10)
    entry = pack_metadata(sequences.lengths, bins, 10)
    batches = [collate(row, 10) for row in read_rows(path)]
    runtime = [len(inputs) for item in batches for inputs, _, _ in item.sequences()]
    assert entry == {
        "dataset_max_seqlen": max(runtime),
        "max_samples_per_bin": max(len(item.sequences()) for item in batches),
        "packing_factor": 1.33,
        "packing_efficiency": 60.0,
        "pack_size": 10,
        "min_packed_seqlen": min(len(item.tokens) for item in batches),
    }
    write_metadata(tmp_path / "metadata.json", [entry, entry])
    assert json.loads((tmp_path / "metadata.json").read_text(encoding="utf-8")) == [entry, entry]


def test_rows_of_another_writer_are_read(tmp_path: Path) -> None:
    """Megatron-Bridge's own writer takes 64 bits for ids, and signed masks."""
    columns = {"input_ids": [[1, 2, 3], [4, 5]], "loss_mask": [[1, 0, 0], [1, 0]], "seq_start_id": [[0, 2], [0]]}
    kinds = (("input_ids", pa.list_(pa.int64())), ("loss_mask", pa.large_list(pa.int8())))
    schema = pa.schema([*kinds, ("seq_start_id", pa.list_(pa.int64())), ("note", pa.string())])
    pq.write_table(pa.table({**columns, "note": ["a", "b"]}, schema=schema), tmp_path / "0.parquet")
    samples = list(read_packed(tmp_path))
    assert [(item.ids.tolist(), item.mask.tolist()) for item in samples] == [
        ([1, 2], [1, 0]),
        ([3], [0]),
        ([4, 5], [1, 0]),
    ]
    assert {(item.ids.dtype, item.mask.dtype) for item in samples} == {(np.dtype(np.int32), np.dtype(np.uint8))}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": ["a"]}, "this one lacks input_ids, loss_mask, seq_start_id"),
        ({"input_ids": [1], "loss_mask": [[0]], "seq_start_id": [[0]]}, "int64, not a list"),
        ({"input_ids": [["a"]], "loss_mask": [[0]], "seq_start_id": [[0]]}, "list<.*string> with 0 nulls"),
        ({"input_ids": [[1], None], "loss_mask": [[0]] * 2, "seq_start_id": [[0]] * 2}, "with 1 nulls"),
        ({"input_ids": [[1]] * 2, "loss_mask": [[0], [0, 0]], "seq_start_id": [[0]] * 2}, "row 1: its input_ids"),
        ({"input_ids": [[1]] * 2, "loss_mask": [[0]] * 2, "seq_start_id": [[0], []]}, "row 1: its input_ids"),
        ({"input_ids": [[1]], "loss_mask": [[0]], "seq_start_id": [[1]]}, "row 0: its input_ids"),
        ({"input_ids": [[1, 2]], "loss_mask": [[0, 0]], "seq_start_id": [[0, 2]]}, "row 0: its input_ids"),
        ({"input_ids": [[1, 2]] * 2, "loss_mask": [[0, 0]] * 2, "seq_start_id": [[0, 1], [0, 0]]}, "row 1: its input"),
        ({"input_ids": [[1], []], "loss_mask": [[0], []], "seq_start_id": [[0]] * 2}, "row 1: its input_ids"),
    ],
)
def test_rows_that_are_damaged(tmp_path: Path, columns: dict[str, list[object]], said: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "0.parquet")
    with pytest.raises(DataError, match=rf"0\.parquet: .*{said}"):
        list(read_packed(tmp_path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no packed parquet file"):
        list(read_packed(tmp_path))
    path, _ = write(tmp_path, numbered(40, 100), 1000)
    content = bytearray(path.read_bytes())
    content[4:30] = bytes(26)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"0\.parquet: row group 0 cannot be read"):
        list(read_packed(tmp_path))
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        PackedFile(path)
