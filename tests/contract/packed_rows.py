"""Holds what Megatron-Bridge made of packed files to what a faithful reader makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nemotron.data_prep.packing import bridge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def held_sequences(
    rows: Sequence[dict[str, Any]], path: Path, pack_size: int, end: int
) -> list[tuple[list[int], list[int], list[int]]]:
    """Compare a file's rows, and give their sequences: inputs, labels and loss mask at run time.

    Args:
        rows: What the library collated, row by row.
        path: The packed Parquet file.
        pack_size: Most tokens in a row.
        end: Id of the token that the library pads with.
    """
    found = []
    padding = {"tokens": end, "labels": end, "loss_mask": 0, "position_ids": 0}
    for real, row in zip(rows, bridge.read_rows(path), strict=True):
        batch = bridge.collate(row, pack_size)
        size = len(batch.tokens)
        for name, pad in padding.items():
            assert real[name] == getattr(batch, name) + [pad] * (pack_size - size)
        ends = [place for place in real["cu_seqlens"] if place >= 0]
        assert ends == batch.cu_seqlens + [pack_size] * (size < pack_size)
        found += batch.sequences()
    return found
