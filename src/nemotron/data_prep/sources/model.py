"""What a data set consists of: files, spans of files, and batches of the records in them."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


class Format(enum.Enum):
    """How a file holds its records; the end of its name says it."""

    JSON_LINES = "JSON lines"
    PARQUET = "Parquet"
    TEXT = "text"


_FORMATS = {
    ".jsonl": Format.JSON_LINES,
    ".json": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".md": Format.TEXT,
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
KNOWN_NAMES = ".jsonl, .json, .ndjson, .parquet, .pq, .txt, .text or .md, the ones of lines also with .gz or .zst"
DOCUMENTS = ("file", "line", "paragraph")
_WEB = ("http://", "https://")
_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<user>[^/\s]*)@")
# Azure's addresses have the container there.
_CONTAINER = {"abfs", "abfss", "wasb", "wasbs"}
# Elsewhere than on the web a question mark may be a pattern's.
_QUERIES = (
    re.compile(r"(\bhttps?://[^?#\n]*)[?#][^\s'\"]*", re.IGNORECASE),
    re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^?\n]*)\?[\w.~-]+=[^\s'\"]*"),
)


def shown(text: str) -> str:
    """Give a text as it can be told: the URLs in it without user, password and query, which may be secrets.

    Args:
        text: A URL, a path or a message.
    """
    if "://" not in text:
        return text
    text = _USER.sub(lambda found: f"{found['scheme']}://{_container(found['scheme'], found['user'])}", text)
    for query in _QUERIES:
        text = query.sub(r"\1", text)
    return text


def _container(scheme: str, user: str) -> str:
    return f"{user}@" if scheme.lower() in _CONTAINER and ":" not in user else ""


def without_query(url: str) -> str:
    """Give the part of a web address that names the file; another URL or a path is given as it is.

    Args:
        url: The URL.
    """
    return re.split("[?#]", url, maxsplit=1)[0] if url.lower().startswith(_WEB) else url


def format_of(name: str) -> tuple[Format, str | None] | None:
    """Tell from a file's name how it is read.

    Args:
        name: The name, or a path or URL that ends with it.

    Returns:
        The format and the compression, or None where the name says nothing that is known.
    """
    path = PurePosixPath(without_query(name))
    compression = _COMPRESSIONS.get(path.suffix.lower())
    found = _FORMATS.get((PurePosixPath(path.stem) if compression else path).suffix.lower())
    if found is None or (compression and found is Format.PARQUET):
        return None
    return found, compression


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a data set.

    Args:
        url: The absolute path of a local file, otherwise an fsspec URL; on the Hugging Face Hub with its commit.
        size: Bytes as stored.
        format: How it holds its records.
        compression: "gzip", "zstd", or None.
        identity: The store's own word for the content (a hash, an ETag). None where it has none, as on this machine:
            then the bytes are hashed.
        document: What one document of a text is: the "file", a "line" or a "paragraph". Other formats ignore it.
    """

    url: str
    size: int
    format: Format
    compression: str | None = None
    identity: str | None = None
    document: str = "file"

    @property
    def is_local(self) -> bool:
        """Tell whether the file is on this machine."""
        return "://" not in self.url

    @property
    def path(self) -> Path | str:
        """Give what an error names: a path, or the URL without what may be secret in it."""
        return Path(self.url) if self.is_local else shown(self.url)

    @property
    def is_whole(self) -> bool:
        """Tell whether the file can only be read as a whole, from its beginning."""
        return self.compression is not None or (self.format is Format.TEXT and self.document == "file")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file.

    Args:
        file: The file.
        start: Its first byte; of Parquet its first row group. 0 where the file is read as a whole.
        end: The byte or row group after its last. A line or paragraph belongs to the span in which it starts.
    """

    file: SourceFile
    start: int
    end: int


Piece = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read.

    Args:
        number: Where it stands, as in `Batch.numbers`.
        message: What is wrong with it.
        remedy: What to do about it.
    """

    number: int
    message: str
    remedy: str


@dataclass(slots=True)
class Batch:
    """Some records of a span, in their order.

    Args:
        values: The records; those of a text have the one field "text".
        numbers: Of each record the byte offset of its line (in what a compressed file unpacks to), or in Parquet its
            row, counted from 0 at the file's beginning.
        raw: The lines as they stand, without their ends. None for Parquet and text.
        bad: The records that cannot be read.
        bytes_read: How many bytes, as stored, were read for this batch.
    """

    values: list[dict[str, object]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    raw: list[bytes] | None = None
    bad: list[BadRecord] = field(default_factory=list)
    bytes_read: int = 0

    def __len__(self) -> int:
        """Count the records, good and bad."""
        return len(self.values) + len(self.bad)
