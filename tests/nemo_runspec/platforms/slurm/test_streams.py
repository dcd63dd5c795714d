from __future__ import annotations

import pytest

from nemo_runspec.platforms.slurm.streams import LONGEST_LINE, Splitter, Stream, stream_of


@pytest.mark.parametrize(
    ("file", "stream"),
    [
        ("task-0.0.log", ("task-0", 0)),
        ("task-head-11.2.log", ("task-head-11", 2)),
        ("batch.0.log", ("batch", 0)),
        ("task-0.log", None),
        ("../task-0.0.log", None),
        ("core.0.log", None),
    ],
)
def test_which_file_is_a_log(file: str, stream: tuple[str, int] | None) -> None:
    assert stream_of(file) == stream


def test_lines_are_made_of_any_pieces() -> None:
    text = b"one\r\n\xff\x1b[1mtwo\n 10%\r 20%\r100%\n\nlast"
    expected = ["one", "\ufffd\x1b[1mtwo", " 10%\r 20%\r100%", ""]
    for size in range(1, len(text) + 1):
        splitter = Splitter()
        lines = [line for start in range(0, len(text), size) for line in splitter.take(text[start : start + size])]
        assert lines == expected
        assert list(splitter.rest()) == ["last"]


def test_a_line_of_any_length_takes_little_memory() -> None:
    splitter = Splitter()
    piece = b"x" * (256 << 10)
    for _ in range(200):
        assert list(splitter.take(piece)) == []
    assert len(splitter._line) == LONGEST_LINE  # noqa: SLF001 - what is kept cannot be seen from outside
    (line,) = splitter.take(b"y\n")
    assert line == "x" * LONGEST_LINE + f" [{(50 << 20) + 1 - LONGEST_LINE} more bytes of this line are left out]"
    assert list(splitter.take(b"next\n")) == ["next"]


def test_attempts_come_one_after_the_other() -> None:
    stream = Stream("task-0")
    assert stream.wanted() is None
    stream.sized(0, 5)
    stream.sized(1, 4)
    assert stream.wanted() == (0, "task-0.0.log")
    assert stream.take(0, 0, b"a\nb")
    assert stream.wanted() is None, "nobody has taken what is there"
    assert stream.ready() == ["a"]
    assert stream.wanted() == (3, "task-0.0.log")
    assert stream.take(0, 3, b"cd")
    assert stream.wanted() == (0, "task-0.1.log")
    assert stream.take(1, 0, b"e\nf")
    assert stream.ready() == ["bcd", "[attempt 1 begins]", "e"]
    stream.sized(0, 7)
    assert stream.take(0, 5, b"z\n")
    assert stream.ready() == ["f", "[attempt 0 goes on]", "z"]
    assert list(stream.rest()) == []


def test_a_log_that_has_become_shorter_is_read_again() -> None:
    stream = Stream("batch")
    stream.sized(0, 6)
    stream.take(0, 0, b"abc\nde")
    stream.ready()
    stream.sized(0, 2)
    assert stream.ready() == ["de", "[the log has become shorter, and is read again from its beginning]"]
    assert stream.wanted() == (0, "batch.0.log")
    assert not stream.take(0, 6, b"late"), "bytes of the log before"
    assert stream.take(0, 0, b"x\n")
    assert stream.ready() == ["x"]
