"""Data sets read twice, in the same order: to know their rows, and to copy those that are chosen.

Of a row no more than its key and one byte is kept in between, whatever its length.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import DataError
from nemotron.data_prep.records import UnusableError
from nemotron.data_prep.rl.rows import KEY_BYTES
from nemotron.data_prep.shards import Problem
from nemotron.data_prep.shards.receipt import LISTED_PROBLEMS
from nemotron.data_prep.sources import BadRecord, Batch, bad_record_error, cut, digest, read_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from nemo_runspec.errors import Location
    from nemotron.data_prep.blend import DataSet
    from nemotron.data_prep.rl.rows import Record, Rows
    from nemotron.data_prep.sources import Span

FITS, TOO_LONG, UNUSABLE = range(3)


@dataclass(frozen=True, slots=True)
class RowSet:
    """A data set, to be read.

    Args:
        name: What it is called.
        split: The split that it is for; "all" where its rows are divided.
        weight: Its share of the training rows.
        spans: What it consists of.
        records: What it consists of where it is in no file.
        sample: Only so many of its first records count; None for all.
        where: Where the blend names it.
    """

    name: str
    split: str
    weight: float = 1.0
    spans: tuple[Span, ...] = ()
    records: tuple[Record, ...] = ()
    sample: int | None = None
    where: Location | None = None

    @classmethod
    def of(cls, data_set: DataSet, split: str, sample: int | None) -> RowSet:
        """Give a data set of a blend, to be read.

        Raises:
            DataError: A file of it cannot be read.
        """
        spans = tuple(span for piece in cut(data_set.files, None) for span in piece)
        if sample is not None:
            spans = _first_spans(spans, sample)
        return cls(data_set.name, split, data_set.weight, spans, sample=sample, where=data_set.where)

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """Give the records in their order, each batch with the number of its span."""
        if self.records:
            yield 0, Batch(list(self.records), list(range(len(self.records))))
        left = self.sample
        for number, span in enumerate(self.spans):
            for batch in read_batches(span, None, limit=left):
                if left is not None:
                    left -= len(batch)
                yield number, batch

    def identity(self) -> str:
        """Give a text that changes when the content does, or what it counts for."""
        content = " ".join(digest(span) for span in self.spans)
        return f"{self.split} {self.weight} {self.sample} {content}"


def _first_spans(spans: Sequence[Span], count: int) -> tuple[Span, ...]:
    """Give the spans that so many of the first records are in."""
    for number, span in enumerate(spans, 1):
        count -= sum(len(batch) for batch in read_batches(span, None, limit=count))
        if count <= 0:
            return tuple(spans[:number])
    return tuple(spans)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of all rows, in the order of reading.

    Args:
        keys: Of each row two numbers that make its key; the first of them is told by the prompt alone.
        states: `FITS`, `TOO_LONG` or `UNUSABLE`.
        bounds: Where the rows of each set begin; the last is where they end.
    """

    keys: NDArray[np.uint64]
    states: NDArray[np.uint8]
    bounds: tuple[int, ...]

    def rows_of(self, number: int) -> slice:
        """Give the rows of a set."""
        return slice(self.bounds[number], self.bounds[number + 1])


@dataclass(slots=True)
class Reader:
    """Reads data sets.

    Args:
        sets: The data sets.
        rows: Their kind.
        skip_errors: Whether to go on where a record cannot be used.
        watch: Told how many bytes, as stored, have been read since the last time.
        counts: `records`, `too_long` and `skipped`, after the first reading.
        problems: The first of the skipped records, with the number of their set.
    """

    sets: Sequence[RowSet]
    rows: Rows
    skip_errors: bool
    watch: Callable[[int], None]
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def look(self) -> Known:
        """Read everything for the first time.

        Raises:
            DataError: A file cannot be read, or a record cannot be used and such are not skipped, or a data set has
                no record at all.
        """
        keys, states, bounds = bytearray(), bytearray(), [0]
        for number, row_set in enumerate(self.sets):
            seen = 0
            for span, batch in row_set.batches():
                seen += len(batch)
                for bad in batch.bad:
                    self._refuse(number, span, bad)
                self._look_at(number, span, batch, keys, states)
                self.watch(batch.bytes_read)
            if not seen:
                message = f"the data set '{row_set.name}' has no records"
                raise DataError(message, where=row_set.where, remedy="Add some, or take it out of the blend.")
            self.counts["records"] += seen
            bounds.append(len(states))
        state = np.frombuffer(states, np.uint8)
        self.counts["too_long"] = int((state == TOO_LONG).sum())
        return Known(np.frombuffer(keys, np.uint64).reshape(-1, 2), state, tuple(bounds))

    def lines(self, number: int, codes: NDArray[np.uint8]) -> Iterator[tuple[int, list[bytes]]]:
        """Read a data set again, and give the lines of those of its rows that are wanted.

        Args:
            number: Which.
            codes: For each of its rows what it is wanted for, or 0.

        Yields:
            A code, and lines that are wanted for it.

        Raises:
            DataError: A file cannot be read, or has other rows than before.
        """
        done = 0
        for _, batch in self.sets[number].batches():
            count = len(batch.values)
            wanted = codes[done : done + count]
            if len(wanted) < count:
                raise changed_error(self.sets[number])
            done += count
            self.watch(batch.bytes_read)
            raw: Sequence[bytes | None] = batch.raw or [None] * count
            for code in np.unique(wanted[wanted > 0]).tolist():
                places = np.flatnonzero(wanted == code).tolist()
                yield code, [self.rows.line(batch.values[place], raw[place]) for place in places]
        if done < len(codes):
            raise changed_error(self.sets[number])

    def _look_at(self, number: int, span: int, batch: Batch, keys: bytearray, states: bytearray) -> None:
        for index, values in enumerate(batch.values):
            try:
                key = self.rows.key(values, None if batch.raw is None else batch.raw[index])
            except UnusableError as error:
                self._refuse(number, span, BadRecord(batch.numbers[index], error.message, error.remedy))
                key, state = None, UNUSABLE
            else:
                state = TOO_LONG if key is None else FITS
            keys += key if key is not None else bytes(KEY_BYTES)
            states.append(state)

    def _refuse(self, number: int, span: int, bad: BadRecord) -> None:
        spans = self.sets[number].spans
        if not self.skip_errors:
            raise bad_record_error(spans[span], bad) if spans else DataError(bad.message, remedy=bad.remedy)
        self.counts["skipped"] += 1
        if len(self.problems) < LISTED_PROBLEMS:
            self.problems.append((number, Problem(span, bad.number, bad.message)))


def changed_error(row_set: RowSet) -> DataError:
    """Give the error of a data set that has changed between the two readings."""
    message = f"the data set '{row_set.name}' has changed while it was read"
    return DataError(message, where=row_set.where, remedy="Prepare again when nobody writes to it.")
