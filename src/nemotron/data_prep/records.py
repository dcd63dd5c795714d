"""The records of a piece of the input: read in batches, with what cannot be used refused or skipped and remembered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import orjson
import xxhash

from nemo_runspec.errors import guess
from nemotron.data_prep.shards import Problem, ShardStore, make_shard
from nemotron.data_prep.shards.receipt import LISTED_PROBLEMS
from nemotron.data_prep.sources import BadRecord, bad_record_error, digest, origin, read_batches, refuse_written, stamps
from nemotron.data_prep.wording import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nemotron.data_prep.shards import Address, Busy, Made, Written
    from nemotron.data_prep.sources import Batch, Piece

T = TypeVar("T")

# Enough for the engines to be fast, and little enough that progress is seen and memory is not.
_BATCH_BYTES = 1 << 20


def read_piece(piece: Piece, columns: Sequence[str] | None, *, limit: int | None, skip_errors: bool) -> PieceReader:
    """Read the records of a piece.

    Args:
        piece: Spans of files.
        columns: The fields that are needed; None reads all.
        limit: Most records to read; None reads all.
        skip_errors: Skip records that cannot be used, instead of raising.
    """
    return PieceReader(piece, columns, limit, skip_errors=skip_errors)


def digest_piece(piece: Piece, columns: Sequence[str] | None, limit: int | None) -> tuple[str, ...]:
    """Name the content of a piece.

    Args:
        piece: Spans of files.
        columns: The fields that are needed.
        limit: Only so many of the first records count; None takes all.

    Returns:
        A digest for each span. With a limit one of the records themselves: the rest of a large file stays unread.
    """
    if limit is None:
        return tuple(digest(span, columns) for span in piece)
    content = xxhash.xxh3_128()
    for records in PieceReader(piece, columns, limit, skip_errors=True):
        batch = records.batch
        # Where they stand too: a receipt lists the places of what was skipped.
        named = [batch.numbers, batch.values, [(bad.number, bad.message) for bad in batch.bad]]
        # Parquet has values that JSON has no form for.
        content.update(orjson.dumps(named, default=repr))
    return (f"first {limit}: {content.hexdigest()}",)


def make_of_piece(
    store: str, piece: Piece, address: Callable[[], Address], write: Callable[[Path], Written]
) -> Made | Busy:
    """Find the shard of a piece, or make it; nothing is published where its files change meanwhile.

    Args:
        store: The folder of all shards.
        piece: What it is made of.
        address: Gives its content address; the piece is read for it.
        write: Reads the piece again, and writes the shard's files into a folder.

    Returns:
        The shard, or BUSY while another process makes it.

    Raises:
        DataError: A file has changed between the two readings or during one of them, or cannot be read.
    """
    before = stamps(piece)

    def checked(folder: Path) -> Written:
        written = write(folder)
        refuse_written(piece, before)
        return written

    return make_shard(ShardStore(Path(store)), address(), checked)


class PieceReader:
    """Iterates over batches of records; `counts` and `problems` grow meanwhile.

    Args:
        piece: Spans of files.
        columns: The fields that are needed; None reads all.
        limit: Most records to read; None reads all.
        skip_errors: Skip records that cannot be used, instead of raising.
    """

    def __init__(self, piece: Piece, columns: Sequence[str] | None, limit: int | None, *, skip_errors: bool) -> None:
        """Open nothing yet."""
        self.counts: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._piece = piece
        self._columns = columns
        self._limit = limit
        self._skip_errors = skip_errors
        self._origins: dict[int, int] = {}

    def __iter__(self) -> Iterator[Records]:
        """Give the batches in order.

        Raises:
            DataError: A record cannot be read, unless such are skipped; or a file cannot be.
        """
        left = self._limit
        for number, span in enumerate(self._piece):
            if left is not None and left <= 0:
                return
            for batch in read_batches(span, self._columns, limit=left, batch_bytes=_BATCH_BYTES):
                self.counts["records"] += len(batch)
                self.counts["bytes"] += batch.bytes_read
                if left is not None:
                    left -= len(batch)
                for bad in batch.bad:
                    self.refuse(number, bad)
                yield Records(self, number, batch)

    def refuse(self, span: int, bad: BadRecord) -> None:
        """Raise for a record that cannot be used, or note that it is skipped.

        Args:
            span: Which span of the piece it stands in.
            bad: What is wrong with it.

        Raises:
            DataError: Records that cannot be used are not skipped.
        """
        if not self._skip_errors:
            raise bad_record_error(self._piece[span], bad)
        self.counts["skipped"] += 1
        if len(self.problems) < LISTED_PROBLEMS:
            if span not in self._origins:
                self._origins[span] = origin(self._piece[span])
            self.problems.append(Problem(span, bad.number - self._origins[span], bad.message))


@dataclass(frozen=True, slots=True)
class Records:
    """A batch, and whom to tell of records in it that cannot be used.

    Args:
        reader: Where it comes from.
        span: Which span of the piece it is of.
        batch: The records.
    """

    reader: PieceReader
    span: int
    batch: Batch

    @property
    def bytes_read(self) -> int:
        """How many bytes, as stored, were read for it."""
        return self.batch.bytes_read

    def texts(self, field: str) -> list[str]:
        """Give the text in a field of each record; one without it is refused.

        Raises:
            DataError: A record lacks the field or holds something else there, and such are not skipped.
        """
        texts = [values.get(field) for values in self.batch.values]
        if all(isinstance(text, str) for text in texts):
            return cast("list[str]", texts)
        return [text for _, text in self.each(lambda values: text_of(values, field))]

    def each(self, use: Callable[[dict[str, object]], T]) -> list[tuple[int, T]]:
        """Apply a function to each record.

        Args:
            use: Takes a record, and raises `UnusableError` where it is not what it should be.

        Returns:
            Number and result of each record, without those that are skipped.

        Raises:
            DataError: A record is refused, and such are not skipped.
        """
        results = []
        for number, values in zip(self.batch.numbers, self.batch.values, strict=True):
            try:
                results.append((number, use(values)))
            except UnusableError as error:
                self.refuse(number, error.message, error.remedy)
        return results

    def refuse(self, number: int, message: str, remedy: str) -> None:
        """Refuse a record that turned out not to be usable.

        Args:
            number: Its number.
            message: What is wrong with it.
            remedy: What to do about it.

        Raises:
            DataError: Such are not skipped.
        """
        self.reader.refuse(self.span, BadRecord(number, message, remedy))


class UnusableError(Exception):
    """A record is not what it should be; who knows where it stands makes a `DataError` of it.

    Args:
        message: What is wrong with it.
        remedy: What to do about it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def text_of(values: dict[str, object], field: str) -> str:
    """Give the text in a field of a record.

    Raises:
        UnusableError: There is no such field, or it holds something else.
    """
    if field not in values:
        message = f"the record has no field '{field}'"
        raise UnusableError(message, guess(field, values, what="fields of this record"))
    value = values[field]
    if isinstance(value, str):
        return value
    message = f"the field '{field}' holds {kind(value)}, not text"
    raise UnusableError(message, "Give the field with the text as 'text_field' in the data blend.")
