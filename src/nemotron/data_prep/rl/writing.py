"""The files of the splits and the manifest that names them, published together or not at all."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Self

import xxhash

from nemotron.data_prep.rl.rows import as_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

MANIFEST_FILE = "manifest.json"
SKIPPED_FILE = "skipped.jsonl"

_PRIVATE = ".writing-"
_REPLACED = ".replaced-"


@contextmanager
def private_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write in, which takes its place when the body has ended well.

    What an earlier process left when it was killed is removed; the caller holds the folder around `target`.

    Args:
        target: Where it is put; what is there is replaced.
    """
    for left in (*target.parent.glob(f"{_PRIVATE}*"), *target.parent.glob(f"{_REPLACED}*")):
        shutil.rmtree(left)
    private = target.with_name(f"{_PRIVATE}{target.name}")
    private.mkdir()
    yield private
    for path in sorted(private.rglob("*"), reverse=True):
        _flush(path)
    if target.exists():
        target.rename(target.with_name(f"{_REPLACED}{target.name}"))
    private.rename(target)
    _flush(target.parent)
    shutil.rmtree(target.with_name(f"{_REPLACED}{target.name}"), ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class SplitFiles:
    """The files of one split, to which rows are dealt in turn.

    Args:
        folder: The folder for all splits.
        split: The split.
        shards: How many files, at least one.
        rows: Rows written.
    """

    folder: Path
    split: str
    shards: int
    rows: int = 0
    _open: list[IO[bytes]] = field(default_factory=list)
    _digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    @property
    def names(self) -> tuple[str, ...]:
        """The files, relative to the folder."""
        if self.shards == 1:
            return (f"{self.split}/{self.split}.jsonl",)
        return tuple(
            f"{self.split}/{self.split}-{shard:05d}-of-{self.shards:05d}.jsonl" for shard in range(self.shards)
        )

    @property
    def digest(self) -> str:
        """What names the rows, in their order."""
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        """Make the files."""
        (self.folder / self.split).mkdir()
        self._open = [(self.folder / name).open("wb") for name in self.names]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        for stream in self._open:
            stream.close()

    def write(self, lines: Sequence[bytes]) -> None:
        """Deal rows to the files.

        Args:
            lines: JSON without line ends.
        """
        for shard, stream in enumerate(self._open):
            # The row that comes next goes to the file after that of the last one.
            block = as_lines(lines[(shard - self.rows) % self.shards :: self.shards])
            stream.write(block)
            if self.shards == 1:
                self._digest.update(block)
        if self.shards > 1:
            self._digest.update(as_lines(lines))
        self.rows += len(lines)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a document for people and programs."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
