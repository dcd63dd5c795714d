"""Lines that are no records: what is said of each, and that the good ones beside them stay."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep.sources import Span, bad_record_error
from nemotron.data_prep.sources.records import is_text, parse_json, split_lines
from tests.nemotron.data_prep.sources.made import file_of, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{oops", "the line is not JSON: Expecting property name"),
        (b'{"a": 1} {"a": 2}', "the line is not JSON: Extra data"),
        (b"[1]", "the line holds a list, not an object"),
        (b"3", "the line holds a number, not an object"),
        (b'[{"text": "a"},', "the line is not JSON: .*\n.*jq -c"),
        (rb'{"t": [{"n": "\ud800 x"}]}', "half of a surrogate pair"),
        (rb'{"\uDFFF": 1}', "half of a surrogate pair"),
        (b"\xed\xa0\x80", "the line is not JSON: 'utf-8' codec"),
        (b"\xff", "the line is not JSON: 'utf-8' codec"),
        (b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 100 deep"),
        (b'{"text":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested more than 100 deep"),
        (b'{"text":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}", "nested more than 100 deep"),
        (b'{"text":' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 100 deep"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the line holds a number of too many digits"),
        (b'{"n": NaN}', "the line is not JSON: .*\n.*no NaN"),
        (b'{"n": 1e999}', "the line is not JSON: .*\n.*numbers of hundreds of digits"),
    ],
)
def test_a_line_that_is_no_record(tmp_path: Path, line: bytes, said: str) -> None:
    file = file_of(tmp_path / "a.jsonl", b'{"a": 1}\n\n' + line + b'\n{"a": [2]}\n')
    span = Span(file, 0, file.size)
    found = read([span])
    assert found.values == [{"a": 1}, {"a": [2]}]
    assert found.numbers == [0, 11 + len(line)]
    (bad,) = found.bad
    error = bad_record_error(span, bad)
    with pytest.raises(type(error), match=rf"a\.jsonl:3: .*{said}"):
        raise error
    assert error.remedy


def test_what_is_only_together_a_list_of_records() -> None:
    lines = [b'{"a": 1},{"b": 2}', b'{"c": [{"d": 1}', b'{"e": 2}]}', b"{}"]
    found = parse_json(lines, [0, 20, 40, 60])
    assert (found.values, found.numbers, [bad.number for bad in found.bad]) == ([{}], [60], [0, 20, 40])
    assert gc.isenabled()


def test_as_deep_as_allowed_and_long_lists(tmp_path: Path) -> None:
    lines = (
        b'{"n":' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"n": [' + b"[]," * 500 + b"1]}",
        b'{"n": "' + b"[" * 500 + b'"}',
    )
    file = file_of(tmp_path / "a.jsonl", b"\n".join(lines))
    assert len(read([Span(file, 0, file.size)]).values) == 3


def test_characters_of_two_halves_and_marks_in_the_middle(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    file = file_of(tmp_path / "a.jsonl", mark + b'{"text": "\\ud83d\\ude00"}\n' + mark + b'{"text": "b"}')
    found = read([Span(file, 0, file.size)])
    assert [value["text"] for value in found.values] == ["\U0001f600", "b"]
    assert found.raw == [b'{"text": "\\ud83d\\ude00"}', b'{"text": "b"}']


def test_lines_and_where_they_start() -> None:
    assert split_lines(100, b"a\r\n\nb\n") == ([b"a", b"b"], [100, 104])
    assert split_lines(0, b"\xef\xbb\xbfa\nb") == ([b"a", b"b"], [3, 5])
    assert split_lines(7, b"") == ([], [])


def test_whole_characters() -> None:
    assert is_text({"a": ["\U0001f600"]})
    assert not is_text({"a": ["\ud800"]})
