"""What a stage's inputs hold, as text: the same path with other content is another input."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nemo_runspec.artifacts import digest
from nemo_runspec.artifacts.opening import open_folder
from nemo_runspec.errors import DataError, Location

# Reading more than this of every file would keep a stage waiting; what is larger counts by its size and its time.
_READ_WHOLE = 64 * 1024 * 1024


def inputs_identity(*places: str) -> str:
    """Give the digest of what is in files and folders.

    Args:
        places: Paths of data and models. What is not on this disk, such as a Hub id, counts by its name alone, which
            is in the configuration.

    Raises:
        DataError: Something there cannot be read.
    """
    return digest([_contents(Path(place)) for place in places])


def _contents(place: Path) -> list[list[object]] | None:
    try:
        if not place.exists():
            return None
        folder = place if place.is_dir() else place.parent
        sizes = open_folder(place).files()
        return [[name, size, _mark(folder / name, size)] for name, size in sorted(sizes.items())]
    except OSError as error:
        message = f"the input cannot be read: {error.strerror}"
        where = Location(Path(error.filename or place))
        raise DataError(message, where=where, remedy="Correct the config entry that names it.") from error


def _mark(file: Path, size: int) -> str:
    if size > _READ_WHOLE:
        return str(file.stat().st_mtime_ns)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
