"""Small files that a job leaves for its submitter, where its folder is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_BYTES: Final = 1 << 20


def read_file(path: Path) -> bytes | None:
    """Give a file; None where there is none, or it is larger than a megabyte."""
    try:
        if path.is_file() and path.stat().st_size <= _LARGEST_BYTES:
            return path.read_bytes()
    except OSError:
        return None
    return None
