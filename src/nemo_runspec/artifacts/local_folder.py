"""A place on this machine."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from typing import IO, TYPE_CHECKING

from nemo_runspec.artifacts.folder import Folder
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LocalFolder(Folder):
    """A place on this machine.

    Args:
        path: Absolute path.
    """

    def __init__(self, path: Path) -> None:
        """Read and write nothing yet."""
        super().__init__(str(path))
        self._path = path

    @property
    def parent(self) -> Folder:
        """The folder that holds this one."""
        return LocalFolder(self._path.parent)

    def open(self, relative: str) -> IO[bytes]:
        """Open a file below for reading."""
        return (self._path / relative).open("rb")

    def size(self, relative: str) -> int | None:
        """Give a file's bytes, following links, or None where there is no file."""
        file = self._path / relative
        with storage_errors(str(file), "look at"):
            return file.stat().st_size if file.is_file() else None

    def subfolders(self, relative: str = "") -> list[str]:
        """List the names of the folders directly below."""
        folder = self._path / relative
        with storage_errors(str(folder), "list"):
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def files(self) -> dict[str, int]:
        """Find every file below, following links."""
        with storage_errors(self.url, "list"):
            if self._path.is_file():
                return {self._path.name: self._path.stat().st_size}
            if self._path.is_dir():
                return dict(_walk(self._path, self._path, (self._path.resolve(),)))
        message = f"there is no file or folder {self.url}"
        raise ArtifactError(message, remedy="Check what the stage wrote, and where.")

    def create(self, folder: str, name: str, content: bytes) -> None:
        """Make the file `name` in a new folder below, whole or not at all."""
        target = self._path / folder
        # A private folder renamed into place: rename refuses a target that holds anything, so exactly one writer wins
        # and no reader ever sees a folder without its file. tempfile would make it unreadable for other users.
        draft = target.parent / f".new-{uuid.uuid4().hex}"
        with storage_errors(str(target), "write to", let=FileExistsError):
            try:
                draft.mkdir(parents=True)
                _write_durably(draft / name, content)
                _rename_to_free(draft, target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Give a local file new content at once: a reader sees the old or the new, never a part.

    Raises:
        ArtifactError: It cannot be written.
    """
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with storage_errors(str(path), "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_durably(draft, content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename_to_free(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError as error:
        # POSIX leaves it to the file system which of the two it gives for a folder that holds something.
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def _walk(folder: Path, root: Path, above: tuple[Path, ...]) -> Iterator[tuple[str, int]]:
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            yield entry.relative_to(root).as_posix(), entry.stat().st_size
        elif entry.is_dir() and entry.resolve() not in above:
            yield from _walk(entry, root, (*above, entry.resolve()))
        else:
            kind = "a link to a folder above it" if entry.is_dir() else "neither a file nor a folder"
            message = f"{entry} is {kind}, so it cannot be part of an artifact"
            raise ArtifactError(message, remedy="Remove it, or publish a folder that does not hold it.")
