"""Where a record stands, in words that an editor can follow."""

from __future__ import annotations

from pathlib import Path

from nemo_runspec.errors import Location
from nemotron.data_prep.sources import BadRecord, Format, SourceFile, Span, bad_record_error, place
from tests.nemotron.data_prep.sources.made import file_of


def test_the_line_of_a_record(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", b"{}\n\n{}\n{}")
    span = Span(file, 3, file.size)
    assert [place(span, number).line for number in (0, 4, 7)] == [1, 3, 4]
    error = bad_record_error(span, BadRecord(4, "it is wrong", "Correct it."))
    assert (error.where, error.message, error.remedy) == (
        Location(tmp_path / "a.jsonl", 3),
        "it is wrong",
        "Correct it.",
    )


def test_the_row_of_a_record() -> None:
    span = Span(SourceFile("/data/a.parquet", 10, Format.PARQUET), 3, 4)
    assert place(span, 7) == Location(Path("/data/a.parquet"))
    assert str(bad_record_error(span, BadRecord(7, "it is wrong", "Correct it."))).startswith(
        "/data/a.parquet: row 8: it is wrong"
    )
