"""Plain text as documents: a file, a line or a paragraph each."""

from __future__ import annotations

import re
from itertools import compress
from typing import TYPE_CHECKING

from nemotron.data_prep.sources.lines import MARK, refuse_endless
from nemotron.data_prep.sources.model import BadRecord, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

# What a document may have that is a whole file. Its tokens take a hundred times its size while it is encoded, and what
# is larger is hardly one document.
LARGEST_DOCUMENT = 8 << 20
# Paragraphs are parted by lines of nothing or blanks. Both patterns can only begin where a line ends or begins, so
# that looking for them takes no longer than reading.
_GAP = re.compile(rb"\n(?:[ \t\r\f\v]*\n)+")
_LEADING = re.compile(rb"(?:[ \t\r\f\v]*\n)*")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?" + _LEADING.pattern)
_BLANKS = b" \t\r\f\v"
_STEP = 4096


def decode(documents: Iterable[bytes], starts: Iterable[int]) -> Batch:
    """Give documents as records with the one field "text".

    Args:
        documents: Their bytes; those of nothing but blanks are left out.
        starts: Where each starts.
    """
    batch = Batch()
    for document, start in zip(documents, starts, strict=True):
        if not document.strip():
            continue
        try:
            text = document.decode()
        except UnicodeDecodeError as error:
            batch.bad.append(BadRecord(start, f"the text is not UTF-8: {error}", "Convert it, such as with iconv."))
        else:
            batch.values.append({"text": text})
            batch.numbers.append(start)
    return batch


def whole_file(stream: BinaryIO, block: int) -> Batch:
    """Read a file that is one document; one that is too large for that is a bad record.

    Args:
        stream: What it holds, unpacked.
        block: How many bytes to read at once.
    """
    parts: list[bytes] = []
    size = 0
    while data := stream.read(block):
        parts.append(data)
        size += len(data)
        if size > LARGEST_DOCUMENT:
            message = f"the file is one document, and larger than {LARGEST_DOCUMENT >> 20} MiB"
            remedy = 'Give the data set "document": "line" or "document": "paragraph" in the blend.'
            return Batch(bad=[BadRecord(0, message, remedy)])
    return decode([b"".join(parts).removeprefix(MARK)], [0])


def paragraphs(stream: BinaryIO, start: int, end: int, block: int) -> Iterator[tuple[list[bytes], list[int]]]:
    """Give the paragraphs that start in a range.

    Args:
        stream: The file, unpacked; it must be able to seek where `start` is not 0.
        start: The range's first byte.
        end: The byte after the range; anything large for a stream of unknown length.
        block: How many bytes to read at once.

    Yields:
        Paragraphs without the line ends after them, and where each of them starts.

    Raises:
        DataError: A paragraph is longer than 64 MiB.
    """
    # A mark at the file's beginning hides what the first line holds.
    offset = start - 1 if start > len(MARK) else 0
    fresh = not _goes_on(stream, offset)
    if offset:
        stream.seek(offset)
    buffer = b""
    while True:
        reached = offset + len(buffer)
        # A buffer that is searched again and again grows by its own size: the work stays in proportion.
        most = end - reached if reached < end else block
        data = stream.read(min(max(block if reached < end else _STEP, len(buffer)), most))
        buffer += data
        found, starts, used = _take(buffer, offset, fresh=fresh, last=not data)
        fresh = fresh or used > 0
        mine = [start <= place < end for place in starts]
        yield list(compress(found, mine)), list(compress(starts, mine))
        offset, buffer = offset + used, buffer[used:]
        if not data or offset >= end or (reached + len(data) >= end and (not buffer or offset < start)):
            return
        refuse_endless(len(buffer), "paragraph")


def _take(buffer: bytes, offset: int, *, fresh: bool, last: bool) -> tuple[list[bytes], list[int], int]:
    """Split off the paragraphs that are complete.

    Args:
        buffer: The bytes.
        offset: Where they stand in the file.
        fresh: Whether they begin between two paragraphs, not within one.
        last: Whether the file ends with them.

    Returns:
        The paragraphs, where each starts, and how many bytes were used.
    """
    found: list[bytes] = []
    starts: list[int] = []
    leading = (_LEADING if offset else _BEGINNING).match(buffer) if fresh else None
    used = leading.end() if leading else 0
    for gap in _GAP.finditer(buffer, used):
        found.append(buffer[used : gap.start()])
        starts.append(offset + used)
        used = gap.end()
    if last and used < len(buffer):
        found.append(buffer[used:])
        starts.append(offset + used)
        used = len(buffer)
    return [text.rstrip(b"\r\n") for text in found], starts, used


def _goes_on(stream: BinaryIO, position: int) -> bool:
    """Tell whether the line that a position is on holds something before it."""
    while position > 0:
        size = min(_STEP, position)
        position -= size
        stream.seek(position)
        before = stream.read(size)
        rest = (before if position else before.removeprefix(MARK)).rstrip(_BLANKS)
        if rest:
            return not rest.endswith(b"\n")
    return False
