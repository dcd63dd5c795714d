"""Files in stores: S3 and Google's storage on loopback, and what is said when they cannot be reached."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import Span, bad_record_error, cut, digest, list_files, place
from nemotron.data_prep.sources.stores import identity_of
from tests.nemotron.data_prep.sources.made import local, read
from tests.nemotron.data_prep.sources.stores import Request, google, read_as_a_user, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemotron.data_prep.sources import SourceFile

LINES = b"".join(b'{"text": "line %d"}\n' % number for number in range(60))
TEXTS = [f"line {number}" for number in range(60)]
TABLE = io.BytesIO()
pq.write_table(pa.table({"text": TEXTS}), TABLE, row_group_size=20)
CONTENTS = {
    "data/a.jsonl": LINES,
    "data/b.jsonl.gz": gzip.compress(LINES),
    "data/c.parquet": TABLE.getvalue(),
    "data/README.md": b"about",
    "data/deeper/d.jsonl": LINES,
}
NO_KEY = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {**NO_KEY, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 comes with moto

        client = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106 as it says
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="bucket")
        for name, content in CONTENTS.items():
            client.put_object(Bucket="bucket", Key=name, Body=content)
        client.close()
        yield environment
    finally:
        server.stop()


def check(folder: dict[str, object], pattern: dict[str, object], file: dict[str, object], scheme: str) -> None:
    """See that a folder, a pattern and a file are found and read, in parts and in forked processes."""
    names = [f"{scheme}://bucket/data/{name}" for name in ("a.jsonl", "b.jsonl.gz", "c.parquet")]
    assert [url for url, *_ in cast("list[list[str]]", folder["files"])] == names
    spans = cast("list[tuple[str, int, int, str, list[dict[str, str]]]]", folder["spans"])
    assert [url for url, *_ in spans].count(names[0]) > 3
    assert [url for url, *_ in spans].count(names[2]) == 3
    for name in names:
        assert [value["text"] for url, *_, values in spans if url == name for value in values] == TEXTS
    assert len({digest for *_, digest, _ in spans}) == len(spans)
    assert folder["forked"]
    assert [url for url, *_ in cast("list[list[str]]", pattern["files"])] == names[2:]
    assert [url for url, *_ in cast("list[list[str]]", file["files"])] == names[:1]


def asked(scheme: str) -> list[dict[str, object]]:
    return [
        {"path": f"{scheme}://bucket/data", "shard_bytes": 200},
        {"path": f"{scheme}://bucket/data/*.parquet"},
        {"path": f"{scheme}://bucket/data/a.jsonl"},
        {"path": f"{scheme}://bucket/data/none.jsonl"},
    ]


def test_s3(s3: dict[str, str]) -> None:
    folder, pattern, file, missing = read_as_a_user(s3, *asked("s3"))
    check(folder, pattern, file, "s3")
    assert all(identity.startswith("etag:") for *_, identity in cast("list[list[str]]", folder["files"]))
    assert "'s3://bucket/data/none.jsonl' does not exist" in str(missing["error"])


def test_s3_where_nobody_answers() -> None:
    with serving(lambda _: (500, b"", {})) as gone:
        url = gone.url
    environment = {**NO_KEY, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"}
    (answer,) = read_as_a_user(environment, {"path": "s3://bucket/data"})
    assert "'s3://bucket/data' cannot be listed: Could not connect" in str(answer["error"])


def test_google_storage() -> None:
    with serving(google("bucket", dict(CONTENTS))) as server:
        folder, pattern, file, missing = read_as_a_user({"STORAGE_EMULATOR_HOST": server.url}, *asked("gs"))
        fetched = [one.range for one in server.requests if one.path.endswith("a.jsonl") and one.range]
    check(folder, pattern, file, "gs")
    assert all(identity.startswith("md5hash:") for *_, identity in cast("list[list[str]]", folder["files"]))
    assert "'gs://bucket/data/none.jsonl' does not exist" in str(missing["error"])
    assert (0, 200) in fetched


@pytest.fixture
def memory() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    system.pipe("/data/a.jsonl", LINES)
    yield "memory://data"
    system.rm("/data", recursive=True)


def find(url: str) -> tuple[SourceFile, ...]:
    return list_files(url, base=Path("/"), split=None, subset=None, document="file")


def test_the_query_of_a_web_address_is_kept_and_not_told() -> None:
    def answer(request: Request) -> tuple[int, bytes, dict[str, str]]:
        permitted = request.query.get("sig") == ["secret"] and request.path == "/a.jsonl"
        return (200, LINES, {"accept-ranges": "bytes"}) if permitted else (403, b"", {})

    with serving(answer) as server:
        good, bad = read_as_a_user(
            {}, {"path": f"{server.url}/a.jsonl?sig=secret"}, {"path": f"{server.url}/b.jsonl?sig=secret"}
        )
    assert good["files"] == [[f"{server.url}/a.jsonl?sig=secret", len(LINES), None]], good
    assert good["forked"]
    assert str(bad["error"]).startswith(f"'{server.url}/b.jsonl' ")
    assert "secret" not in str(bad["error"])


def test_a_store_without_a_word_for_the_content_is_hashed(memory: str, tmp_path: Path) -> None:
    (file,) = find(memory)
    assert (file.url, file.identity) == ("memory:///data/a.jsonl", None)
    (tmp_path / "here.jsonl").write_bytes(LINES)
    (here,) = local(tmp_path / "here.jsonl")
    for (one,), (other,) in zip(cut([file], 200), cut([here], 200), strict=True):
        assert digest(one) == digest(other)
    assert [value["text"] for value in read(span for piece in cut([file], 200) for span in piece).values] == TEXTS


def test_errors_name_the_url_as_it_was_written(memory: str) -> None:
    fsspec.filesystem("memory").pipe("/data/a.jsonl", b'{"a": 1}\n{oops\n')
    (file,) = find(f"{memory}/a.jsonl")
    span = Span(file, 0, file.size)
    (bad,) = read([span]).bad
    assert str(bad_record_error(span, bad)).startswith("memory:///data/a.jsonl:2: the line is not JSON")


def test_far_into_a_file_elsewhere_the_byte_is_told(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron.data_prep.sources.places._MOST_FETCHED", 5)
    fsspec.filesystem("memory").pipe("/data/a.jsonl", b'{"a": 1}\n{oops\n')
    (file,) = find(memory)
    span = Span(file, 0, file.size)
    (bad,) = read([span]).bad
    assert str(bad_record_error(span, bad)).startswith("memory:///data/a.jsonl: byte 9: the line is not JSON")
    assert place(span, 0).line == 1


def test_a_file_that_was_replaced(memory: str) -> None:
    (file,) = find(memory)
    fsspec.filesystem("memory").pipe("/data/a.jsonl", b"{}\n")
    with pytest.raises(DataError, match=r"memory:///data/a.jsonl: the data file has 3 bytes, and had"):
        read([Span(file, 0, file.size)])
    fsspec.filesystem("memory").mv("/data/a.jsonl", "/data/b.jsonl")
    with pytest.raises(DataError, match=r"memory:///data/a.jsonl: the data file cannot be read"):
        read([Span(file, 0, file.size)])


def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(DataError, match=r"needs a package that is not installed: .*adlfs.*\n.*nemotron\[remote\]"):
        find("abfs://bucket/data")


def test_a_protocol_that_nobody_knows() -> None:
    with pytest.raises(DataError, match="'ftq://bucket' cannot be opened: Protocol not known"):
        find("ftq://bucket")


@pytest.mark.parametrize(
    ("info", "identity"),
    [
        ({"ETag": '"abc-2"', "size": 1}, "etag:abc-2"),
        ({"etag": "x", "crc32c": "AAA=", "md5Hash": "BBB="}, "md5hash:BBB="),
        ({"etag": "x", "crc32c": "AAA="}, "crc32c:AAA="),
        ({"content_md5": bytearray(b"\x01\x02")}, "content_md5:0102"),
        ({"size": 3, "created": 5, "ETag": ""}, None),
    ],
)
def test_the_most_telling_word_for_the_content(info: dict[str, object], identity: str | None) -> None:
    assert identity_of(info) == identity
