"""A place where files are: on this machine here, elsewhere in `remote_folder`."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nemo_runspec.errors import ArtifactError, NemotronError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECK = "Check the path, its permissions, and the credentials of the store."
_LOCAL_SCHEMES = ("file://", "local://")


@contextmanager
def storage_errors(url: str, doing: str, *, let: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what a file system raises into an `ArtifactError` that names the place.

    Args:
        url: The place.
        doing: What was being done there, such as `read` or `write to`.
        let: An error type that the caller handles itself.
    """
    try:
        yield
    except NemotronError:
        raise
    except let:
        raise
    except Exception as error:
        # Drivers of fsspec raise error types of their own (botocore's, aiohttp's) beside OSError, and cannot be
        # imported to be named here.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"cannot {doing} {url}: {reason}"
        raise ArtifactError(message, remedy=_CHECK) from error


class Folder(ABC):
    """A folder, or a single file, that may not exist yet. Paths below it are relative, with `/`.

    Args:
        url: Absolute path or URL, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        """Read and write nothing yet."""
        self.url = url

    def child(self, relative: str) -> str:
        """Give the path or URL of something below."""
        return f"{self.url.rstrip('/')}/{relative}" if relative else self.url

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that holds this one."""

    @abstractmethod
    def open(self, relative: str) -> IO[bytes]:
        """Open a file below for reading."""

    @abstractmethod
    def size(self, relative: str) -> int | None:
        """Give a file's bytes, or None where there is no file; an empty path asks about the place itself.

        Raises:
            ArtifactError: The place cannot be reached.
        """

    @abstractmethod
    def subfolders(self, relative: str = "") -> list[str]:
        """List the names of the folders directly below, or none where there is no such folder.

        Raises:
            ArtifactError: The place cannot be reached.
        """

    @abstractmethod
    def files(self) -> dict[str, int]:
        """Find every file below (or the one file that this is), as relative path -> bytes.

        Raises:
            ArtifactError: The place cannot be read, or holds what cannot be part of an artifact.
        """

    @abstractmethod
    def create(self, folder: str, name: str, content: bytes) -> None:
        """Make the file `name` in a new folder below, whole or not at all.

        Raises:
            FileExistsError: Somebody else made it first.
            ArtifactError: It cannot be written.
        """


def open_folder(where: str | os.PathLike[str]) -> Folder:
    """Give the folder at a path (made absolute) or an fsspec URL.

    Raises:
        ArtifactError: The URL's scheme is unknown, or its driver is not installed.
    """
    text = os.fspath(where)
    for scheme in _LOCAL_SCHEMES:
        text = text.removeprefix(scheme)
    if "://" not in text:
        return LocalFolder(Path(text).expanduser().absolute())
    from nemo_runspec.artifacts.remote_folder import RemoteFolder  # noqa: PLC0415 - local paths need no fsspec

    return RemoteFolder(text)


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
