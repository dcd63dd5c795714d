"""Sizes and checksums of files, to see whether they are still what was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of a shard.

    Args:
        bytes: Its size.
        xxh64: Checksum of its content, in hexadecimal.
    """

    bytes: int
    xxh64: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Read a file and give its record."""
        digest = xxhash.xxh64()
        size = 0
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return cls(size, digest.hexdigest())
