"""Spans: put together they give every record of a file once, each reads only its own bytes, and needs little memory."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import Format, SourceFile, Span, cut, digest, origin, place, read_batches, reading
from tests.nemotron.data_prep.sources.made import file_of, local, read, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MARK = b"\xef\xbb\xbf"
LINES = st.one_of(
    st.sampled_from([b"", b"  ", b"{}", b"[1]", b"{oops", b"\xff", b"\t\r"]),
    st.text(max_size=20).map(lambda text: json.dumps({"text": text}).encode()),
    st.text(st.characters(codec="utf-8"), max_size=8).map(
        lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()
    ),
    st.integers(100, 9000).map(lambda count: json.dumps({"text": "x" * count}).encode()),
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=12))
    content = b"".join(line + end for line, end in lines)
    return draw(st.sampled_from([b"", MARK])) + (content if draw(st.booleans()) else content.removesuffix(b"\n"))


def by_hand(content: bytes) -> list[tuple[int, int, object]]:
    """Give line number, offset and value of each line that holds something; None for what cannot be read."""
    found: list[tuple[int, int, object]] = []
    offset = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.removeprefix(MARK) if number == 1 else line
        start = offset + len(line) - len(text)
        offset += len(line) + 1
        if text.strip():
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            found.append((number, start, value if isinstance(value, dict) else None))
    return found


@settings(deadline=None)
@given(contents(), st.integers(1, 400), st.sampled_from([1, 7, 64, 1 << 20]))
@example(MARK + b'{"text": "a"}\r\n\r\n{}\n', 1, 1)
@example(b'{}\n{"a": "' + b"x" * 70_000 + b'"}\n{}', 500, 640)
def test_spans_give_every_record_once(content: bytes, size: int, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        file = SourceFile(str(path), len(content), Format.JSON_LINES)
        parts = spans(file, max(size, file.size // 40)) or [Span(file, 0, 0)]
        whole, together = read([Span(file, 0, file.size)]), read(parts, batch_bytes=block)
        assert (together.values, together.numbers) == (whole.values, whole.numbers)
        assert (together.raw, together.bad) == (whole.raw, whole.bad)
        expected = by_hand(content)
        assert whole.values == [value for _, _, value in expected if value is not None]
        assert whole.numbers == [start for _, start, value in expected if value is not None]
        assert [bad.number for bad in whole.bad] == [start for _, start, value in expected if value is None]
        lines = [place(parts[0], start).line for _, start, _ in expected]
        assert lines == [line for line, _, _ in expected]
        assert whole.raw == [content[start:].partition(b"\n")[0].removesuffix(b"\r") for start in whole.numbers]


PARAGRAPHS = st.lists(
    st.tuples(
        st.sampled_from(["", " ", "\t", "a", " b ", "c\r", "  é", "x" * 90, " " * 70 + "y" * 300]), st.just("\n")
    ),
    max_size=14,
).map(lambda parts: "".join(text + end for text, end in parts))


@settings(deadline=None)
@given(PARAGRAPHS, st.sampled_from([b"", MARK]), st.integers(1, 60), st.sampled_from([3, 50, 1 << 20]))
@example("a\n \n\n b\nc\n\n", MARK, 1, 1)
@example("   \n   a\n  \n  b", b"", 2, 1)
def test_spans_give_every_paragraph_once(content: str, mark: bytes, size: int, block: int) -> None:
    data = mark + content.encode()
    paragraphs: list[list[str]] = [[]]
    for line in content.split("\n"):
        if line.strip(" \t\r"):
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes(data)
        file = SourceFile(str(path), len(data), Format.TEXT, document="paragraph")
        together = read(spans(file, max(size, file.size // 40)), batch_bytes=block)
        expected = ["\n".join(lines).rstrip("\r") for lines in paragraphs if lines]
        assert [one["text"] for one in together.values] == expected
        assert together.numbers == read([Span(file, 0, file.size)]).numbers
        for number, value in zip(together.numbers, together.values, strict=True):
            assert data[number:].startswith(str(value["text"]).encode())


@settings(deadline=None)
@given(st.lists(LINES, min_size=1, max_size=10), st.integers(1, 300), st.data())
def test_the_digest_of_a_span_changes_with_its_lines_and_no_others(
    lines: list[bytes], size: int, data: st.DataObject
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    place_of_change = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    if content[place_of_change] == ord("\n"):
        return
    changed[place_of_change] = ord("Z") if content[place_of_change] != ord("Z") else ord("Y")
    with tempfile.TemporaryDirectory() as folder:
        one = SourceFile(str(Path(folder) / "a.jsonl"), len(content), Format.JSON_LINES)
        other = SourceFile(str(Path(folder) / "renamed.jsonl"), len(content), Format.JSON_LINES)
        Path(one.url).write_bytes(content)
        Path(other.url).write_bytes(changed)
        starts = [0, *(index + 1 for index, byte in enumerate(content) if byte == ord("\n"))]
        line = next(start for start, after in pairwise(starts) if start <= place_of_change < after)
        step = max(size, one.size // 20)
        for mine, theirs in zip(spans(one, step), spans(other, step), strict=True):
            assert (digest(mine) != digest(theirs)) == (mine.start <= line < mine.end)


class Counting(io.FileIO):
    """A file that remembers what was read of it."""

    ranges: list[tuple[int, int]]

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.ranges.append((start, start + len(data)))
        return data


def test_a_span_reads_its_own_bytes_and_finishes_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b'{"text": "' + b"a" * 988 + b'"}'
    file = file_of(tmp_path / "a.jsonl", b"".join(line + b"\n" for _ in range(1000)))
    stream = Counting(file.url)
    stream.ranges = []

    class Opened:
        def __init__(self, file: SourceFile) -> None: ...

        def __enter__(self) -> BinaryIO:
            return cast("BinaryIO", stream)

        def __exit__(self, *details: object) -> None: ...

    monkeypatch.setattr(reading, "opened", Opened)
    start, end = 300_500, 600_500
    with stream:
        found = read([Span(file, start, end)])
    assert found.numbers == [number for number in range(0, file.size, 1001) if start <= number < end]
    first, last = min(begin for begin, _ in stream.ranges), max(finish for _, finish in stream.ranges)
    assert first == start - 1
    assert last <= end + (64 << 10)
    assert sum(finish - begin for begin, finish in stream.ranges) < (end - start) + (64 << 10) + 2


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> SourceFile:
    path = tmp_path_factory.mktemp("large") / "large.jsonl"
    line = b'{"text": "' + b"a" * 100_000 + b'"}\n'
    with path.open("wb") as stream:
        for _ in range(200):
            stream.write(line * 10)
    (file,) = local(path)
    return file


def peak(read_all: Iterator[object]) -> int:
    tracemalloc.start()
    try:
        for _ in read_all:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_however_large_a_span_is(large: SourceFile) -> None:
    assert large.size > 200_000_000
    whole = Span(large, 0, large.size)
    assert peak(read_batches(whole, None)) < 32 << 20
    pieces = cut([large], None)
    assert len(pieces) > 32
    assert peak(batch for piece in pieces for span in piece for batch in read_batches(span, None)) < 32 << 20
    assert peak(iter([digest(whole)])) < 32 << 20


def test_a_limit_counts_good_and_bad_records(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", b'{"a": 1}\n{oops\n{"a": 2}\n{"a": 3}\n')
    span = Span(file, 0, file.size)
    for limit, good, bad in ((0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 3, 1), (9, 3, 1)):
        found = read([span], limit=limit)
        assert (len(found.values), len(found.numbers), len(found.bad)) == (good, good, bad)
        assert found.raw == [b'{"a": %d}' % number for number in range(1, good + 1)]
    assert len(read([span], limit=3, batch_bytes=1).values) == 2


def pack(content: bytes, kind: str) -> bytes:
    return gzip.compress(content) if kind == "gz" else bytes(pa.compress(content, codec="zstd", asbytes=True))


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_compressed_file_of_several_parts(tmp_path: Path, kind: str) -> None:
    first, second = b'{"a": 1}\n\n{"a"', b': 2}\r\n{"a": 3}'
    content = pack(first, kind) + pack(second, kind)
    file = file_of(tmp_path / f"a.jsonl.{kind}", content)
    (piece,) = cut([file], 1)
    assert piece == (Span(file, 0, file.size),)
    found = read(piece, batch_bytes=5)
    assert found.values == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [place(piece[0], number).line for number in found.numbers] == [1, 3, 4]
    assert found.bytes_read == file.size


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_compressed_file_that_is_cut_off(tmp_path: Path, kind: str, lost: int) -> None:
    content = pack(b'{"a": 1}\n' * 9, kind) + pack(b'{"a": 2}\n' * 9, kind)
    file = file_of(tmp_path / f"a.jsonl.{kind}", content[:-lost])
    with pytest.raises(DataError, match=rf"a\.jsonl\.{kind}: the data file cannot be read: Truncated"):
        read([Span(file, 0, file.size)])


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_compressed_file_that_is_damaged(tmp_path: Path, kind: str) -> None:
    file = file_of(tmp_path / f"a.txt.{kind}", pack(b"a", kind) + b"something else")
    with pytest.raises(DataError, match=rf"a\.txt\.{kind}: the data file cannot be read: .*\n.*damaged"):
        read([Span(file, 0, file.size)])


def test_text_by_line_and_by_file(tmp_path: Path) -> None:
    content = MARK + "one\r\n\n  two é\n\xff".encode()
    lines = file_of(tmp_path / "a.txt", content, document="line")
    found = read(spans(lines, 3))
    assert [value["text"] for value in found.values] == ["one", "  two é", "\xff"]
    (whole,) = local(tmp_path / "a.txt")
    assert read([Span(whole, 0, whole.size)]).values == [{"text": content.decode("utf-8-sig")}]
    assert digest(Span(whole, 0, whole.size)) != digest(Span(lines, 0, lines.size))
    packed = file_of(tmp_path / "b.md.zst", pack(content, "zst"))
    assert read([Span(packed, 0, packed.size)]).values == [{"text": content.decode("utf-8-sig")}]


def test_a_file_that_has_changed(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", b'{"a": 1}\n')
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\n')
    for use in (lambda: read([Span(file, 0, 9)]), lambda: digest(Span(file, 0, 9))):
        with pytest.raises(DataError, match=r"a\.jsonl: the data file has 18 bytes, and had 9 when it was listed"):
            use()


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", b'{"a": 1}\n')
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"a\.jsonl: the data file cannot be read: No such file"):
        read([Span(file, 0, 9)])


def test_a_store_that_names_the_content_is_not_read() -> None:
    file = SourceFile("s3://nowhere/a.jsonl", 100, Format.JSON_LINES, identity="etag:1")
    same = SourceFile("gs://elsewhere/b.jsonl", 100, Format.JSON_LINES, identity="etag:1")
    other = SourceFile("s3://nowhere/a.jsonl", 100, Format.JSON_LINES, identity="etag:2")
    assert digest(Span(file, 0, 50)) == digest(Span(same, 0, 50))
    assert len({digest(span) for span in (Span(file, 0, 50), Span(file, 50, 100), Span(other, 0, 50))}) == 3


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron.data_prep.sources.lines._LONGEST", 1000)
    file = file_of(tmp_path / "a.jsonl", b"{}\n" + b"x" * 5000)
    with pytest.raises(DataError, match=r"a\.jsonl: a line is longer than"):
        read([Span(file, 0, file.size)], batch_bytes=100)


@pytest.mark.parametrize(
    ("name", "document", "starts"),
    [("a.jsonl", "file", (1, 12, 22)), ("a.txt", "line", (1, 12, 22)), ("a.txt", "paragraph", (0, 11, 21))],
)
def test_records_keep_their_distance_from_the_origin(
    tmp_path: Path, name: str, document: str, starts: tuple[int, ...]
) -> None:
    content = b'{"a": 1}\n\n\n{"a": 2}\n\n{"a": 3}\n'
    found = set()
    for before in (b"", b"{}\n\n", b'{"long": "line"}\n\n'):
        for inside in range(1, max(2, len(before))):
            file = file_of(tmp_path / name, b"x\n\n" + before + content, document=document)
            span = Span(file, 3 + inside if before else 1, file.size)
            numbers = [number - origin(span) for number in read([span]).numbers]
            found.add((digest(span), tuple(numbers)))
    assert len(dict(found)) == len(found)
    assert {numbers for _, numbers in found if len(numbers) == 3} == {starts}


def test_paragraphs_further_apart_are_another_content(tmp_path: Path) -> None:
    near = file_of(tmp_path / "a.txt", b"a\n\nb", document="paragraph")
    far = file_of(tmp_path / "b.txt", b"a\n\n\nb", document="paragraph")
    assert digest(Span(near, 0, near.size)) != digest(Span(far, 0, far.size))
