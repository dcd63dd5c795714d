"""What a file's name says, and that spans travel between processes."""

from __future__ import annotations

import pickle

import pytest

from nemotron.data_prep.sources import BadRecord, Batch, Format, SourceFile, Span
from nemotron.data_prep.sources.model import format_of, shown


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jsonl", (Format.JSON_LINES, None)),
        ("s3://bucket/x.y/a.NDJSON.GZ", (Format.JSON_LINES, "gzip")),
        ("a.json.zst", (Format.JSON_LINES, "zstd")),
        ("a.pq", (Format.PARQUET, None)),
        ("a.parquet.gz", None),
        ("a.md.gz", (Format.TEXT, "gzip")),
        ("a.text", (Format.TEXT, None)),
        ("a.gz", None),
        ("a.csv", None),
        ("jsonl", None),
    ],
)
def test_the_name_says_the_format(name: str, found: tuple[Format, str | None] | None) -> None:
    assert format_of(name) == found


def test_what_has_to_be_read_as_a_whole() -> None:
    assert SourceFile("/a.jsonl.gz", 1, Format.JSON_LINES, "gzip").is_whole
    assert SourceFile("/a.txt", 1, Format.TEXT).is_whole
    assert not SourceFile("/a.txt", 1, Format.TEXT, document="line").is_whole
    assert not SourceFile("/a.jsonl", 1, Format.JSON_LINES).is_whole


def test_spans_are_small_parcels() -> None:
    span = Span(SourceFile("s3://bucket/a.jsonl", 10, Format.JSON_LINES, None, "etag:1"), 0, 10)
    parcel = pickle.dumps(span)
    assert pickle.loads(parcel) == span  # noqa: S301 made above
    assert len(parcel) < 400
    assert not span.file.is_local


def test_a_batch_counts_good_and_bad_records() -> None:
    assert len(Batch([{}, {}], [0, 3], None, [BadRecord(6, "wrong", "Correct it.")])) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://me:secret@host/a.jsonl?sig=secret&x=1#secret", "https://host/a.jsonl"),
        ("https://secret@host/my file.jsonl?sig=secret", "https://host/my file.jsonl"),
        ("404, url='https://host/a.jsonl?sig=secret' gone", "404, url='https://host/a.jsonl' gone"),
        ("zip://a.jsonl::https://me:secret@host/b.zip?sig=secret", "zip://a.jsonl::https://host/b.zip"),
        ("s3://key:secret@bucket/a.jsonl?token=secret", "s3://bucket/a.jsonl"),
        ("s3://bucket/part-?.jsonl", "s3://bucket/part-?.jsonl"),
        ("s3://bucket/?/year=2024/a.jsonl", "s3://bucket/?/year=2024/a.jsonl"),
        ("abfs://data@account.dfs.core.windows.net/a.jsonl", "abfs://data@account.dfs.core.windows.net/a.jsonl"),
        ("abfs://me:secret@account/a.jsonl", "abfs://account/a.jsonl"),
        ("hf://org/name@main/a.jsonl", "hf://org/name@main/a.jsonl"),
        ("/data/what?.jsonl", "/data/what?.jsonl"),
    ],
)
def test_no_secret_of_a_url_is_told(text: str, told: str) -> None:
    assert shown(text) == told


def test_the_query_of_a_web_address_is_no_part_of_its_name() -> None:
    url = "https://me:secret@host/a.jsonl.gz?sig=secret.txt"
    assert format_of(url) == (Format.JSON_LINES, "gzip")
    assert SourceFile(url, 1, Format.JSON_LINES).path == "https://host/a.jsonl.gz"
