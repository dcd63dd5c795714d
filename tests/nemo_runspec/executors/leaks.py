"""Looks for a secret in everything that nemo-run and the executors have written, also where it is packed."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# nemo-run stores executors and tasks as zlib in URL-safe base64.
_PACKED = re.compile(rb"[A-Za-z0-9_=-]{40,}")


def unpacked(data: bytes) -> Iterator[bytes]:
    """Give what is packed in a file's content."""
    for found in _PACKED.findall(data):
        try:
            yield zlib.decompress(base64.urlsafe_b64decode(found))
        except (binascii.Error, zlib.error):
            continue


def holding(folder: Path, secret: str) -> list[Path]:
    """Give the files below a folder that hold a secret."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if _holds(path.read_bytes(), secret.encode())]


def _holds(data: bytes, secret: bytes) -> bool:
    return secret in data or any(secret in text for text in unpacked(data))
