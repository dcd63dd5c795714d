"""Text to measure data preparation with: what a Debian and a Python installation hold, as JSONL and Parquet.

The text is the source and documentation of Python and of the running environment's packages, and below /usr/share and
/usr/include documentation, manual pages, Perl and C headers: about half prose, half code. It is the same on every run
of one machine, and differs between machines, so only ratios within one run mean anything.

Where more is asked for than there is, the documents come again with small variations: every two thousand characters a
short mark that no other copy has. Such text is more alike than a corpus of its size: an engine that remembers what it
has split before is a little faster on it than on text that is all new.
"""

from __future__ import annotations

import gzip
import os
import random
import sysconfig
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEGABYTE = 1_000_000
"""Bytes of a megabyte of text, encoded as UTF-8 and before JSON."""

LONGEST = 2 * MEGABYTE
"""Longest document in bytes: a few files of an installation are tables, not text."""

PYTHON_SUFFIXES = frozenset({".py", ".pyi", ".md", ".rst", ".txt"})
DEBIAN = tuple(map(Path, ("/usr/share/doc", "/usr/share/perl", "/usr/share/perl5", "/usr/share/man", "/usr/include")))
BINARY = frozenset({".png", ".jpg", ".gif", ".svg", ".pdf", ".ps", ".mo", ".so", ".a", ".db", ".pickle", ".xz"})
SEED = 0
MARK_EVERY = 2000
ROW_GROUP_BYTES = 16 * MEGABYTE


def places() -> list[tuple[Path, frozenset[str] | None]]:
    """Give the folders that are read, and the suffixes of their text files; None where it is all but pictures."""
    python = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    return [*((folder, PYTHON_SUFFIXES) for folder in sorted(python)), *((folder, None) for folder in DEBIAN)]


def files(folders: Iterable[tuple[Path, frozenset[str] | None]]) -> list[Path]:
    """List the text files below some folders, mixed, in an order that is the same every time.

    Args:
        folders: What `places` gives.
    """
    found: set[Path] = set()
    for folder, suffixes in folders:
        for directory, _, names in os.walk(folder):
            for name in names:
                path = Path(directory, name)
                suffix = path.suffix.lower()
                wanted = suffix not in BINARY if suffixes is None else suffix in suffixes
                if wanted and not path.is_symlink():
                    found.add(path)
    ordered = sorted(found)
    random.Random(SEED).shuffle(ordered)  # noqa: S311 - an order that can be repeated, not a secret
    return ordered


def read(path: Path) -> str | None:
    """Give the text of a file, unpacked if it is gzip; None for what is no text, empty, or very long."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    return text if text.strip() and "\0" not in text and len(content) <= LONGEST else None


def documents(paths: Iterable[Path]) -> Iterator[str]:
    """Read the texts of some files, each different text once.

    Args:
        paths: The files.
    """
    seen: set[int] = set()
    for path in paths:
        text = read(path)
        if text is not None and (key := xxhash.xxh3_64_intdigest(text.encode())) not in seen:
            seen.add(key)
            yield text


def varied(text: str, copy: int, number: int) -> str:
    """Give a document that is not quite another: with a mark every two thousand characters.

    Args:
        text: The other.
        copy: Which copy of all documents it belongs to.
        number: Its number among them.
    """
    if copy == 0:
        return text
    parts = (text[start : start + MARK_EVERY] for start in range(0, len(text), MARK_EVERY))
    return "".join(f"[{copy}.{number}.{index}] {part}" for index, part in enumerate(parts))


def repeated(size: int, source: Callable[[], Iterable[str]]) -> Iterator[str]:
    """Give documents of a size altogether, again and with variations where there are not enough.

    Args:
        size: Bytes, counted in UTF-8; the last document goes beyond it.
        source: Gives the documents from the first one.

    Raises:
        RuntimeError: There are none.
    """
    written = copy = 0
    while written < size:
        before = written
        for number, text in enumerate(source()):
            document = varied(text, copy, number)
            written += len(document.encode())
            yield document
            if written >= size:
                return
        if written == before:
            message = "there are no documents to make a corpus of"
            raise RuntimeError(message)
        copy += 1


def write_json_lines(path: Path, texts: Iterable[str]) -> Path:
    """Write documents as JSON lines, unless the file is there; it appears whole or not at all.

    Args:
        path: The file.
        texts: The documents.

    Returns:
        The file.
    """
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as stream:
            stream.writelines(orjson.dumps({"text": text}) + b"\n" for text in texts)
        partial.rename(path)
    return path


def read_json_lines(path: Path) -> Iterator[str]:
    """Give the documents of a file of JSON lines.

    Args:
        path: What `write_json_lines` wrote.
    """
    with path.open("rb") as stream:
        for line in stream:
            yield orjson.loads(line)["text"]


def write_parquet(path: Path, source: Path) -> Path:
    """Write the documents of a file of JSON lines as Parquet, in row groups of about 16 MB.

    Args:
        path: The file; what is there stays.
        source: The JSON lines.

    Returns:
        The file.
    """
    if path.exists():
        return path
    partial = path.with_name(path.name + ".partial")
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for batch in batches(read_json_lines(source), ROW_GROUP_BYTES):
            writer.write_table(pa.table({"text": batch}, schema=schema))
    partial.rename(path)
    return path


def split(path: Path, folder: Path, parts: int) -> list[Path]:
    """Cut a file of JSON lines into parts of about the same size, at the ends of lines.

    Args:
        path: The file.
        folder: Where the parts go; it is made.
        parts: How many.

    Returns:
        The parts, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    share = path.stat().st_size / parts
    made = []
    with path.open("rb") as stream:
        for part in range(parts):
            made.append(folder / f"part-{part:05}.jsonl")
            with made[-1].open("wb") as target:
                while stream.tell() < share * (part + 1) and (line := stream.readline()):
                    target.write(line)
    return made


def batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Put texts together until they have a size.

    Args:
        texts: The texts.
        size: Characters of a batch; the last text goes beyond it.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= size:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
