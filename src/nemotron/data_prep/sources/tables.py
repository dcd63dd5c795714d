"""Parquet: row groups of some columns, in batches of bounded size, and the bytes that they consist of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.sources.model import BadRecord, Batch
from nemotron.data_prep.sources.stores import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from nemotron.data_prep.sources.model import SourceFile, Span

# Of each column that much of a row group is held, not the whole of it.
_BUFFER = 1 << 20
_BUFFER_OF_STORE = 8 << 20
_FEWEST_ROWS, _MOST_ROWS = 16, 65_536


@contextmanager
def table(file: SourceFile) -> Iterator[tuple[pq.ParquetFile, BinaryIO]]:
    """Open a Parquet file.

    Args:
        file: The file.

    Yields:
        Its reader, and the stream under it.

    Raises:
        DataError: It cannot be read, or is no Parquet. Also for what is found while it is open.
    """
    size = _BUFFER if file.is_local else _BUFFER_OF_STORE
    with opened(file) as stream:
        try:
            yield pq.ParquetFile(stream, buffer_size=size, pre_buffer=False), stream
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            message = f"the file is not readable Parquet: {str(error).splitlines()[0]}"
            raise DataError(message, where=Location(file.path), remedy="Write it again, or use JSONL.") from error


def group_sizes(file: SourceFile) -> list[int]:
    """Give the bytes of each row group as stored, all columns together.

    Args:
        file: A Parquet file.

    Raises:
        DataError: It cannot be read, or is no Parquet.
    """
    with table(file) as (reader, _):
        return [
            sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            for group in map(reader.metadata.row_group, range(reader.num_row_groups))
        ]


def first_row(span: Span) -> int:
    """Give the number of the first row of some row groups, counted from 0 at the file's beginning.

    Args:
        span: Which.

    Raises:
        DataError: The file cannot be read, or is no Parquet.
    """
    with table(span.file) as (reader, _):
        return _rows_before(reader, span.start)


def _rows_before(reader: pq.ParquetFile, group: int) -> int:
    return sum(reader.metadata.row_group(index).num_rows for index in range(group))


def read_groups(span: Span, columns: Sequence[str] | None, batch_bytes: int) -> Iterator[Batch]:
    """Read some row groups.

    Args:
        span: Which.
        columns: The fields that are needed, None for all. One that the file does not have is in no record.
        batch_bytes: About how many bytes of values a batch has.

    Raises:
        DataError: The file cannot be read.
    """
    with table(span.file) as (reader, _):
        metadata = reader.metadata
        names = _known(reader, columns)
        chosen = set(_leaves(reader, columns))
        row = _rows_before(reader, span.start)
        for index in range(span.start, span.end):
            group = metadata.row_group(index)
            if not group.num_rows:
                continue
            stored = sum(group.column(leaf).total_compressed_size for leaf in chosen)
            size = sum(group.column(leaf).total_uncompressed_size for leaf in chosen)
            fitting = batch_bytes * group.num_rows // max(1, size)
            rows = max(_FEWEST_ROWS, min(_MOST_ROWS, fitting))
            for found in reader.iter_batches(rows, row_groups=[index], columns=names, use_threads=False):
                batch = _records(found, row)
                batch.bytes_read = stored * found.num_rows // group.num_rows
                row += found.num_rows
                yield batch


def chunks(span: Span, columns: Sequence[str] | None) -> Iterator[bytes]:
    """Give the bytes that some columns of some row groups consist of, after a text that says how to read them.

    Args:
        span: Which row groups.
        columns: The fields, None for all.

    Raises:
        DataError: The file cannot be read.
    """
    with table(span.file) as (reader, stream):
        leaves = _leaves(reader, columns)
        names = _known(reader, columns)
        schema = reader.schema_arrow
        fields = schema if names is None else [schema.field(name) for name in names]
        yield "\n".join(f"{field.name}: {field.type}" for field in fields).encode()
        for index in range(span.start, span.end):
            group = reader.metadata.row_group(index)
            yield f"\n{group.num_rows}".encode()
            for leaf in leaves:
                column = group.column(leaf)
                yield f"\n{column.path_in_schema} {column.compression} {column.physical_type}".encode()
                start = column.data_page_offset
                if column.has_dictionary_page and column.dictionary_page_offset:
                    start = min(start, column.dictionary_page_offset)
                yield from _range(stream, start, column.total_compressed_size)


def _range(stream: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    stream.seek(start)
    while length > 0:
        data = stream.read(min(length, 4 << 20))
        if not data:
            message = "a column ends before its end"
            raise pa.ArrowInvalid(message)
        yield data
        length -= len(data)


def _known(reader: pq.ParquetFile, columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    names = reader.schema_arrow.names
    return [name for name in dict.fromkeys(columns) if name in names]


def _leaves(reader: pq.ParquetFile, columns: Sequence[str] | None) -> list[int]:
    """Give the stored columns that belong to fields; a list or a struct has several."""
    paths = [reader.schema.column(index).path for index in range(len(reader.schema))]
    if columns is None:
        return list(range(len(paths)))
    return [
        index
        for index, path in enumerate(paths)
        if any(path == name or path.startswith(f"{name}.") for name in columns)
    ]


def _records(batch: pa.RecordBatch, first: int) -> Batch:
    """Give the rows of a batch as records; those that cannot be read are found one by one."""
    try:
        values = _values(batch)
    # Text that is not UTF-8, and numbers and times that Python has no value for.
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if batch.num_rows == 1:
            message = f"the record cannot be read: {error}"
            return Batch(bad=[BadRecord(first, message, "Write it again, as UTF-8 text.")])
        half = batch.num_rows // 2
        one, other = _records(batch.slice(0, half), first), _records(batch.slice(half), first + half)
        return Batch(one.values + other.values, one.numbers + other.numbers, bad=one.bad + other.bad)
    return Batch(values, list(range(first, first + len(values))))


def _values(batch: pa.RecordBatch) -> list[dict[str, object]]:
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_column(column) for column in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(column: pa.Array) -> list[object]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts: list[object] = column.to_numpy(zero_copy_only=False).tolist()
        return texts
    values: list[object] = column.to_pylist()
    return values
