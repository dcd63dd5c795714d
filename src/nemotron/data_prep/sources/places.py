"""Where a record stands: its line is only counted when something has to be told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.sources.model import Format
from nemotron.data_prep.sources.reading import unpacked
from nemotron.data_prep.sources.stores import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.sources.model import BadRecord, SourceFile, Span

_BLOCK = 4 << 20
# Of a file elsewhere no more than that is fetched to count its lines; beyond it the byte is told.
_MOST_FETCHED = 256 << 20


def place(span: Span, number: int) -> Location:
    """Say where a record stands.

    Args:
        span: The part of a file that it was read from.
        number: Its number in `Batch.numbers`.

    Returns:
        The file and the line. Only the file for Parquet, for a text that is one document, and far into a file that
        would have to be fetched for it.

    Raises:
        DataError: The file can no longer be read.
    """
    return _places(span.file, [number])[number]


def bad_record_error(span: Span, bad: BadRecord) -> DataError:
    """Give the error for a record that cannot be used.

    Args:
        span: The part of a file that it was read from.
        bad: The record.

    Returns:
        The error, which names the file and the line, or else the row or byte.

    Raises:
        DataError: The file can no longer be read.
    """
    return bad_record_errors(span.file, [bad])[0]


def bad_record_errors(file: SourceFile, records: Sequence[BadRecord]) -> list[DataError]:
    """Give the errors for records that cannot be used; the file is read once to count the lines of all of them.

    Args:
        file: The file that they were read from.
        records: The records.

    Raises:
        DataError: The file can no longer be read.
    """
    places = _places(file, [bad.number for bad in records])
    return [_error(file, bad, places[bad.number]) for bad in records]


def _error(file: SourceFile, bad: BadRecord, where: Location) -> DataError:
    message = bad.message
    if file.format is Format.PARQUET:
        message = f"row {bad.number + 1}: {message}"
    elif where.line is None and bad.number:
        message = f"byte {bad.number}: {message}"
    return DataError(message, where=where, remedy=bad.remedy)


def _places(file: SourceFile, numbers: Sequence[int]) -> dict[int, Location]:
    places = {number: Location(file.path) for number in numbers}
    counted = sorted(number for number in places if _has_line(file, number))
    if not counted:
        return places
    lines = position = 0
    with opened(file) as stream, unpacked(file, stream) as content:
        for number in counted:
            while position < number and (data := content.read(min(_BLOCK, number - position))):
                lines += data.count(b"\n")
                position += len(data)
            places[number] = Location(file.path, lines + 1)
    return places


def _has_line(file: SourceFile, number: int) -> bool:
    if file.format is Format.PARQUET or (file.format is Format.TEXT and file.document == "file"):
        return False
    return file.is_local or number <= _MOST_FETCHED
