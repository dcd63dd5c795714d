"""Data sets as files, their parts, and the records in them: JSON lines, Parquet and text, here or in a store.

`list_files` finds the files, `cut` divides them into pieces for one shard each, `digest` names the content of a part,
and `read_batches` gives its records. Each part is read for itself: nobody reads a file whole to take a part of it.
"""

from nemotron.data_prep.sources.cutting import cut
from nemotron.data_prep.sources.listing import list_files
from nemotron.data_prep.sources.model import BadRecord, Batch, Format, Piece, SourceFile, Span
from nemotron.data_prep.sources.places import bad_record_error, bad_record_errors, place
from nemotron.data_prep.sources.reading import digest, origin, read_batches
from nemotron.data_prep.sources.stores import refuse_written, stamps

__all__ = [
    "BadRecord",
    "Batch",
    "Format",
    "Piece",
    "SourceFile",
    "Span",
    "bad_record_error",
    "bad_record_errors",
    "cut",
    "digest",
    "list_files",
    "origin",
    "place",
    "read_batches",
    "refuse_written",
    "stamps",
]
