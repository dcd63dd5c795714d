"""Packed sequences: rows of several sequences, in the Parquet layout that Megatron-Bridge reads."""

from nemotron.data_prep.packing.bins import Bins, pack
from nemotron.data_prep.packing.parquet import (
    COLUMNS,
    ROW_GROUP,
    EncodedShard,
    Lists,
    PackedFile,
    Sample,
    Sequences,
    longest_sequence,
    pack_metadata,
    padded_lengths,
    read_packed,
    write_metadata,
    write_rows,
)

__all__ = [
    "COLUMNS",
    "ROW_GROUP",
    "Bins",
    "EncodedShard",
    "Lists",
    "PackedFile",
    "Sample",
    "Sequences",
    "longest_sequence",
    "pack",
    "pack_metadata",
    "padded_lengths",
    "read_packed",
    "write_metadata",
    "write_rows",
]
