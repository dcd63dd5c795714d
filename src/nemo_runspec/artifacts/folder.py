"""A place where files are, on this machine or in any store that fsspec knows."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import fsspec.core  # type: ignore[import-untyped]  # fsspec ships no types
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]  # the same

from nemo_runspec.errors import ArtifactError, NemotronError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECK = "Check the path, its permissions, and the credentials of the store."


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
        message = f"cannot {doing} {url}: {error or type(error).__name__}"
        raise ArtifactError(
            message, remedy="Check the path, its permissions, and the credentials of the store."
        ) from error


class Folder:
    """A folder, or a single file, given by path or URL.

    Args:
        where: A path (made absolute) or a URL such as `s3://bucket/folder`.

    Raises:
        ArtifactError: The URL's scheme is unknown, or its driver is not installed.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Choose the driver; nothing is read or written yet."""
        text = os.fspath(where)
        try:
            # fsspec carries no types; everything that comes out of it is given one in this class.
            filesystem, root = fsspec.core.url_to_fs(text)
        except (ValueError, ImportError) as error:
            message = f"cannot open the artifact location '{text}': {error}"
            raise ArtifactError(
                message,
                remedy="Use a path, or a URL whose fsspec driver is installed (s3fs for s3://, gcsfs for gs://).",
            ) from error
        self._filesystem: Any = filesystem
        self._root = str(root).rstrip("/") or "/"
        self.path = Path(self._root) if isinstance(filesystem, LocalFileSystem) else None
        self.url = self._root if self.path else str(filesystem.unstrip_protocol(self._root))

    def child(self, relative: str) -> str:
        """Give the path or URL of something below this folder."""
        return f"{self.url.rstrip('/')}/{relative}" if relative else self.url

    @property
    def parent(self) -> Folder:
        """The folder that holds this one."""
        return Folder(self.url.rpartition("/")[0] or "/")

    def _inside(self, relative: str) -> str:
        return f"{self._root.rstrip('/')}/{relative}" if relative else self._root

    def open(self, relative: str) -> IO[bytes]:
        """Open a file below this folder for reading; an empty `relative` opens the place itself.

        Raises:
            FileNotFoundError: It does not exist.
        """
        return cast("IO[bytes]", self._filesystem.open(self._inside(relative), "rb"))

    def size(self, relative: str) -> int | None:
        """Give a file's bytes, or None where there is no such file."""
        with storage_errors(self.child(relative), "look at"):
            if self.path:
                file = Path(self._inside(relative))
                return file.stat().st_size if file.is_file() else None
            try:
                info = self._filesystem.info(self._inside(relative))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def subfolders(self, relative: str = "") -> list[str]:
        """List the names of the folders directly below, or none where the folder does not exist."""
        with storage_errors(self.child(relative), "list"):
            if self.path:
                folder = Path(self._inside(relative))
                return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
            # Drivers of remote stores remember listings; another process may have published since.
            self._filesystem.invalidate_cache(self._inside(relative))
            try:
                entries = self._filesystem.ls(self._inside(relative), detail=True)
            except FileNotFoundError:
                return []
            return sorted(_last(entry["name"]) for entry in entries if entry["type"] == "directory")

    def files(self) -> dict[str, int]:
        """Find every file below, or the file that this is: relative path to bytes.

        Raises:
            ArtifactError: Nothing is there, or a local folder holds something that is neither file nor folder.
        """
        with storage_errors(self.url, "list"):
            if self.path:
                return dict(_local_files(self.path))
            found = self._filesystem.find(self._root, detail=True)
            prefix = self._root.rstrip("/") + "/"
            return {
                _last(name) if name == self._root else str(name).removeprefix(prefix): int(info["size"])
                for name, info in found.items()
            }

    def create(self, folder: str, name: str, content: bytes) -> None:
        """Make the file `name` in a new folder below this one, whole or not at all.

        Args:
            folder: The folder to make, relative to this one.
            name: The file in it.
            content: Its bytes.

        Raises:
            FileExistsError: Somebody else made it first.
        """
        with storage_errors(self.child(folder), "write to"):
            create = self._create_local if self.path else self._create_remote
            created = create(folder, name, content)
        if not created:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.child(folder))

    def _create_remote(self, folder: str, name: str, content: bytes) -> bool:
        try:
            self._filesystem.pipe_file(self._inside(f"{folder}/{name}"), content, mode="create")
        except FileExistsError:
            return False
        return True

    def _create_local(self, folder: str, name: str, content: bytes) -> bool:
        target = Path(self._inside(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        # A private folder renamed into place: rename refuses a target that holds anything, so exactly one writer wins
        # and no reader ever sees a folder without its file. tempfile would make it unreadable for other users.
        draft = target.parent / f".new-{uuid.uuid4().hex}"
        draft.mkdir()
        try:
            write_durably(draft / name, content)
            draft.rename(target)
        except OSError as error:
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                return False
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return True


def _last(name: object) -> str:
    return str(name).rstrip("/").rpartition("/")[2]


def write_durably(path: Path, content: bytes) -> None:
    """Write a local file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Give a local file new content at once: a reader sees the old or the new, never a part.

    Raises:
        ArtifactError: It cannot be written.
    """
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with storage_errors(str(path), "write"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(draft, content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _local_files(root: Path) -> Iterator[tuple[str, int]]:
    """Walk a local folder through its links, giving relative paths and bytes."""
    if root.is_file():
        yield root.name, root.stat().st_size
    elif root.is_dir():
        yield from _walk(root, root, (root.resolve(),))
    else:
        message = f"there is no file or folder {root}"
        raise ArtifactError(message, remedy="Check what the stage wrote, and where.")


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
