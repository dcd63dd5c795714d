"""Files for these tests, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nemotron.data_prep.sources import Batch, Span, list_files, read_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemotron.data_prep.sources import SourceFile


def local(path: Path | str, *, base: Path | None = None, document: str = "file") -> tuple[SourceFile, ...]:
    return list_files(str(path), base=base or Path("/"), split=None, subset=None, document=document)


def file_of(path: Path, content: bytes, *, document: str = "file") -> SourceFile:
    path.write_bytes(content)
    (file,) = local(path, document=document)
    return file


def spans(file: SourceFile, size: int) -> list[Span]:
    starts = range(0, file.size, size)
    return [Span(file, start, min(start + size, file.size)) for start in starts]


def read(
    parts: Iterable[Span], columns: Sequence[str] | None = None, *, limit: int | None = None, batch_bytes: int = 4 << 20
) -> Batch:
    """Give all that some spans hold as one batch."""
    whole = Batch(raw=[])
    assert whole.raw is not None
    for span in parts:
        for batch in read_batches(span, columns, limit=limit, batch_bytes=batch_bytes):
            whole.values += batch.values
            whole.numbers += batch.numbers
            whole.raw += batch.raw or []
            whole.bad += batch.bad
            whole.bytes_read += batch.bytes_read
    return whole
