from __future__ import annotations

import decimal
import gzip
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.records import Records, UnusableError, digest_piece, read_piece, text_of
from nemotron.data_prep.shards import Problem
from nemotron.data_prep.shards.receipt import LISTED_PROBLEMS
from tests.nemotron.data_prep.small import whole, write_lines

if TYPE_CHECKING:
    from pathlib import Path


def numbers(folder: Path, *names: str) -> list[Path]:
    return [write_lines(folder / name, ({"text": f"{name} {number}"} for number in range(5))) for name in names]


def texts(records: Records) -> list[str]:
    return [str(values["text"]) for values in records.batch.values]


def test_all_spans_are_read_in_order_and_counted(tmp_path: Path) -> None:
    files = numbers(tmp_path, "a.jsonl", "b.jsonl")
    reader = read_piece(whole(*files), None, limit=None, skip_errors=False)
    found = [(records.span, text) for records in reader for text in texts(records)]
    assert found == [(span, f"{name}.jsonl {number}") for span, name in enumerate("ab") for number in range(5)]
    assert reader.counts == {"records": 10, "bytes": sum(file.stat().st_size for file in files)}
    assert reader.problems == []


@pytest.mark.parametrize("limit", [1, 5, 6, 9, 10, 11])
def test_a_limit_goes_over_all_spans(tmp_path: Path, limit: int) -> None:
    piece = whole(*numbers(tmp_path, "a.jsonl", "b.jsonl"))
    reader = read_piece(piece, None, limit=limit, skip_errors=False)
    assert sum(len(texts(records)) for records in reader) == reader.counts["records"] == min(limit, 10)


def test_what_cannot_be_used_stops_with_file_and_line(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", ['{"text": "a"}', "", '{"text": "b"}'])
    second = write_lines(tmp_path / "b.jsonl", ['{"text": "a"}', "", "{broken"])
    with pytest.raises(DataError, match="the line is not JSON") as raised:
        list(read_piece(whole(first, second), None, limit=None, skip_errors=False))
    assert raised.value.where == Location(second, 3)


def test_what_is_skipped_is_counted_and_listed(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", ['{"text": "a"}'])
    second = write_lines(tmp_path / "b.jsonl", ['{"text": "b"}', '{"text": 3}', "[]", '{"txt": "c"}', '{"text": "d"}'])
    reader = read_piece(whole(first, second), None, limit=None, skip_errors=True)
    assert [text for records in reader for text in records.texts("text")] == ["a", "b", "d"]
    assert reader.counts["records"] == 6
    assert reader.counts["skipped"] == 3
    assert sorted(reader.problems, key=lambda one: one.number) == [
        Problem(1, 14, "the field 'text' holds a number, not text"),
        Problem(1, 26, "the line holds a list, not an object"),
        Problem(1, 29, "the record has no field 'text'"),
    ]


def test_all_are_counted_and_the_first_are_listed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ["{}"] * (LISTED_PROBLEMS + 7))
    reader = read_piece(whole(path), None, limit=None, skip_errors=True)
    assert all(records.texts("text") == [] for records in reader)
    assert reader.counts["skipped"] == LISTED_PROBLEMS + 7
    assert [one.number for one in reader.problems] == [3 * line for line in range(LISTED_PROBLEMS)]


def test_a_function_is_applied_to_each_record(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"n": 1}, {"n": "two"}, {"n": 3}])

    def double(values: dict[str, object]) -> int:
        number = values["n"]
        if not isinstance(number, int):
            message = "no number"
            raise UnusableError(message, "Write one.")
        return 2 * number

    (records,) = read_piece(whole(path), None, limit=None, skip_errors=True)
    assert records.each(double) == [(0, 2), (22, 6)]
    assert records.bytes_read == path.stat().st_size
    (records,) = read_piece(whole(path), None, limit=None, skip_errors=False)
    with pytest.raises(DataError) as raised:
        records.each(double)
    assert str(raised.value) == f"{path}:2: no number\n  Write one."


@pytest.mark.parametrize(
    ("values", "said", "remedy"),
    [
        ({"txt": "a"}, "the record has no field 'text'", "Did you mean 'txt'?"),
        ({"text": None}, "the field 'text' holds null, not text", "'text_field'"),
        ({"text": ["a"]}, "the field 'text' holds a list, not text", "'text_field'"),
        ({"text": True}, "the field 'text' holds true or false, not text", "'text_field'"),
    ],
)
def test_a_field_without_text(values: dict[str, object], said: str, remedy: str) -> None:
    with pytest.raises(UnusableError) as raised:
        text_of(values, "text")
    assert raised.value.message == said
    assert remedy in raised.value.remedy


def test_names_and_times_are_no_part_of_what_names_the_content(tmp_path: Path) -> None:
    one, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (one, other):
        write_lines(path, [{"text": "same"}])
    assert digest_piece(whole(one), ["text"], None) == digest_piece(whole(other), ["text"], None)
    assert digest_piece(whole(one), ["text"], 1) == digest_piece(whole(other), ["text"], 1)
    assert digest_piece(whole(one, other), ["text"], None) == 2 * digest_piece(whole(one), ["text"], None)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_sample_is_named_by_its_records_alone(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / ("a.jsonl" if pack is bytes else "a.jsonl.gz")
    lines = [b'{"text": "%d"}\n' % number for number in range(9)]

    def digest_of(content: list[bytes], limit: int | None = 4) -> tuple[str, ...]:
        path.write_bytes(pack(b"".join(content)))
        return digest_piece(whole(path), ["text"], limit)

    plain = digest_of(lines)
    assert digest_of([*lines[:4], b'{"text": "another"}\n']) == plain
    assert digest_of([*lines[:3], b'{"text": "another"}\n']) != plain
    assert digest_of(lines, 5) != plain
    assert digest_of(lines, None) != plain
    # What is skipped is listed with its place, so another place is another shard.
    assert digest_of([b"\n", *lines]) != plain
    assert digest_of([*lines[:3], b"{broken\n"]) != digest_of([*lines[:3], b"[]\n"])


def test_a_sample_may_hold_what_json_has_no_form_for(tmp_path: Path) -> None:
    values = [decimal.Decimal("1.50"), decimal.Decimal("2.50")]
    found = []
    for number, value in enumerate(values):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": [value], "raw": [b"\xff"]}), path)
        found.append(digest_piece(whole(path), None, 1))
    assert found[0] != found[1]
