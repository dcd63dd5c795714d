"""Spans as batches of records, and what names their content."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import xxhash

from nemotron.data_prep.sources import tables, texts
from nemotron.data_prep.sources.lines import skip_to_line, whole_lines
from nemotron.data_prep.sources.model import Batch, Format
from nemotron.data_prep.sources.records import parse_json, split_lines
from nemotron.data_prep.sources.stores import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from nemotron.data_prep.sources.model import SourceFile, Span

_BLOCK = 4 << 20
# Read here in so small parts that they stay in the processor's cache; a store is asked for larger ones.
_CACHED = 256 << 10
_UNKNOWN = sys.maxsize


def read_batches(
    span: Span, columns: Sequence[str] | None, *, limit: int | None = None, batch_bytes: int = _BLOCK
) -> Iterator[Batch]:
    """Read the records of a span, in memory that does not grow with it.

    Args:
        span: Which part of which file.
        columns: The fields that are needed; None reads all. Only Parquet reads less for it.
        limit: The most records, bad ones included; None reads all.
        batch_bytes: About how many bytes a batch is made of; a larger record is a batch of its own.

    Raises:
        DataError: The file cannot be read, or has changed since it was listed.
    """
    left = _UNKNOWN if limit is None else limit
    if left <= 0:
        return
    for batch in _batches(span, columns, batch_bytes, left):
        if len(batch) > left:
            yield _first(batch, left)
            return
        left -= len(batch)
        yield batch
        if not left:
            return


def digest(span: Span, columns: Sequence[str] | None = None) -> str:
    """Give a text that changes when the bytes that `read_batches` consumes do, and with nothing else.

    The file's name and time are not in it. Where the store has a word for the content, nothing is read.

    Args:
        span: Which part of which file.
        columns: The fields that are needed; None for all. Only Parquet leaves the others out.

    Raises:
        DataError: The file cannot be read, or has changed since it was listed.
    """
    file = span.file
    what = [file.format.value, file.compression or "", file.document if file.format is Format.TEXT else ""]
    if file.identity is not None:
        what += [file.identity, f"{file.size} {span.start} {span.end}"]
    state = xxhash.xxh3_128("\n".join(what).encode())
    if file.identity is None:
        for data in _consumed(span, columns):
            state.update(data)
    return state.hexdigest()


def origin(span: Span) -> int:
    """Give the number that those of a span's records are counted from where its content is found in another place.

    Spans with the same `digest` have each record at the same distance from it.

    Args:
        span: Which part of which file.

    Returns:
        In the terms of `Batch.numbers`: the first row, or the byte where the first line or paragraph starts.

    Raises:
        DataError: The file cannot be read, or has changed since it was listed.
    """
    if span.file.format is Format.PARQUET:
        return tables.first_row(span)
    if not span.start:
        return 0
    with opened(span.file) as stream:
        if _in_paragraphs(span.file):
            found = texts.paragraphs(stream, span.start, span.end, _BLOCK)
            return next((start for _, starts in found for start in starts), span.start)
        stream.seek(span.start - 1)
        return skip_to_line(stream.read, span.start, span.end, _BLOCK)[0]


def _in_paragraphs(file: SourceFile) -> bool:
    return file.format is Format.TEXT and file.document == "paragraph"


def _together(batches: Iterator[Batch], batch_bytes: int, wanted: int) -> Iterator[Batch]:
    """Put small batches together, until they have the size or the number of records that is wanted."""
    whole: Batch | None = None
    for batch in batches:
        if whole is None:
            whole = batch
        else:
            whole.values += batch.values
            whole.numbers += batch.numbers
            whole.bad += batch.bad
            whole.bytes_read += batch.bytes_read
            if whole.raw is not None and batch.raw is not None:
                whole.raw += batch.raw
        if whole.bytes_read >= batch_bytes or len(whole) >= wanted:
            wanted -= len(whole)
            yield whole
            whole = None
    if whole is not None:
        yield whole


def _first(batch: Batch, count: int) -> Batch:
    """Give the first records of a batch, good and bad in the order of the file."""
    last = sorted([*batch.numbers, *(bad.number for bad in batch.bad)])[count - 1]
    kept = sum(number <= last for number in batch.numbers)
    raw = None if batch.raw is None else batch.raw[:kept]
    bad = [one for one in batch.bad if one.number <= last]
    return replace(batch, values=batch.values[:kept], numbers=batch.numbers[:kept], raw=raw, bad=bad)


def _batches(span: Span, columns: Sequence[str] | None, batch_bytes: int, wanted: int) -> Iterator[Batch]:
    file = span.file
    if file.format is Format.PARQUET:
        yield from tables.read_groups(span, columns, batch_bytes)
    elif file.is_local and not file.is_whole:
        yield from _together(_text_batches(span, min(batch_bytes, _CACHED)), batch_bytes, wanted)
    else:
        yield from _text_batches(span, batch_bytes)


def _text_batches(span: Span, block: int) -> Iterator[Batch]:
    with opened(span.file) as stream, unpacked(span.file, stream) as content:
        before = span.start
        end = _UNKNOWN if span.file.is_whole else span.end
        for batch in _line_batches(span, content, end, block):
            batch.bytes_read = stream.tell() - before
            before = stream.tell()
            yield batch


def _line_batches(span: Span, content: BinaryIO, end: int, block: int) -> Iterator[Batch]:
    if span.file.format is Format.JSON_LINES:
        for offset, lines in _lines(content, span.start, end, block):
            yield parse_json(*split_lines(offset, lines))
    elif span.file.document == "file":
        yield texts.whole_file(content, block)
    elif span.file.document == "line":
        for offset, lines in _lines(content, span.start, end, block):
            yield texts.decode(*split_lines(offset, lines))
    else:
        for found, starts in texts.paragraphs(content, span.start, end, block):
            yield texts.decode(found, starts)


def _lines(content: BinaryIO, start: int, end: int, block: int) -> Iterator[tuple[int, bytes]]:
    before = b""
    if start:
        content.seek(start - 1)
        start, before = skip_to_line(content.read, start, end, block)
    yield from whole_lines(content.read, start, end, block, before)


def _consumed(span: Span, columns: Sequence[str] | None) -> Iterator[bytes]:
    """Give the bytes that are read for the records of a span."""
    file = span.file
    if file.format is Format.PARQUET:
        yield from tables.chunks(span, columns)
        return
    with opened(file) as stream:
        if file.is_whole:
            while data := stream.read(_BLOCK):
                yield data
        elif _in_paragraphs(file):
            first = None if span.start else 0
            for batch in texts.paragraphs(stream, span.start, span.end, _BLOCK):
                for text, start in zip(*batch, strict=True):
                    first = start if first is None else first
                    # What parts two paragraphs may have any length; where they stand is told of those that are bad.
                    yield b"\n\n%d\n" % (start - first)
                    yield text
        else:
            for _, lines in _lines(stream, span.start, span.end, _BLOCK):
                yield lines


@contextmanager
def unpacked(file: SourceFile, stream: BinaryIO) -> Iterator[BinaryIO]:
    """Read what a compressed file holds; another is given as it is.

    Args:
        file: The file.
        stream: Its bytes.
    """
    if file.compression is None:
        yield stream
        return
    with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), file.compression) as content:
        yield cast("BinaryIO", content)
