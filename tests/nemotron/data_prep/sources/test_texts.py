"""Plain text: documents that are files, and texts that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep.sources import Span, bad_record_error
from tests.nemotron.data_prep.sources.made import file_of, read, spans

if TYPE_CHECKING:
    from pathlib import Path


def test_a_document_that_is_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron.data_prep.sources.texts.LARGEST_DOCUMENT", 100)
    file = file_of(tmp_path / "a.txt", b"x" * 101)
    span = Span(file, 0, file.size)
    (bad,) = read([span], batch_bytes=30).bad
    error = bad_record_error(span, bad)
    assert str(error).startswith(f"{file.url}: the file is one document, and larger than")
    assert '"document": "line"' in str(error)
    small = file_of(tmp_path / "b.txt", b"x" * 100)
    assert len(read([Span(small, 0, small.size)]).values) == 1


@pytest.mark.parametrize(("document", "where"), [("file", ""), ("line", ":3"), ("paragraph", ":3")])
def test_text_that_is_not_utf8(tmp_path: Path, document: str, where: str) -> None:
    file = file_of(tmp_path / "a.txt", b"one\n\n\xff\xfe\n", document=document)
    span = Span(file, 0, file.size)
    found = read([span])
    assert len(found.values) == (document != "file")
    (bad,) = found.bad
    assert f"a.txt{where}: the text is not UTF-8" in str(bad_record_error(span, bad))


def test_blanks_are_no_documents(tmp_path: Path) -> None:
    for document in ("file", "line", "paragraph"):
        file = file_of(tmp_path / "a.txt", b" \n\t\r\n  ", document=document)
        assert read([Span(file, 0, file.size)]).values == []


def test_a_paragraph_of_many_parts_and_a_long_line_of_blanks(tmp_path: Path) -> None:
    content = b"a\n" * 50_000 + b" " * 100_000 + b"\nb"
    file = file_of(tmp_path / "a.txt", content, document="paragraph")
    found = read(spans(file, 20_000), batch_bytes=1000)
    assert [str(value["text"]) for value in found.values] == ["a\n" * 49_999 + "a", "b"]
    assert found.numbers == [0, 200_001]
