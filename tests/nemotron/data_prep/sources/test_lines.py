"""Where lines begin in a part of a file, and how much of it is read for that."""

from __future__ import annotations

import io

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources.lines import refuse_endless, skip_to_line, whole_lines


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(1, 3, 3), (3, 5, 3), (4, 6, 6), (4, 7, 6), (5, 6, 6), (6, 12, 6), (7, 12, 12), (7, 13, 12), (12, 13, 12)],
)
def test_the_first_line_of_a_range(start: int, end: int, found: int) -> None:
    stream = io.BytesIO(b"aa\nbb\nccccc\nd")
    stream.seek(start - 1)
    place, before = skip_to_line(stream.read, start, end, 4)
    assert (place, stream.getvalue()[place : place + len(before)]) == (found, before)
    assert stream.tell() <= end - 1


def test_lines_longer_than_a_block() -> None:
    content = b"a\n" + b"b" * 50 + b"\nc\nd"
    assert list(whole_lines(io.BytesIO(content).read, 0, len(content), 8)) == [
        (0, b"a\n"),
        (2, b"b" * 50 + b"\nc\n"),
        (55, b"d"),
    ]


def test_a_record_that_would_fill_the_memory() -> None:
    refuse_endless(64 << 20)
    with pytest.raises(DataError, match="a paragraph is longer than 64 MiB"):
        refuse_endless((64 << 20) + 1, "paragraph")
