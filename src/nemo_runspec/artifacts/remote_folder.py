"""A place in any store that fsspec knows, such as `s3://bucket/folder`."""

from __future__ import annotations

from typing import IO, Any, cast

import fsspec.core

from nemo_runspec.artifacts.folder import Folder
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError


class RemoteFolder(Folder):
    """A place behind an fsspec driver.

    Args:
        url: A URL with a scheme.

    Raises:
        ArtifactError: The scheme is unknown, or its driver is not installed or refuses to start.
    """

    def __init__(self, url: str) -> None:
        """Choose the driver; nothing is read or written yet."""
        try:
            filesystem, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            message = f"cannot open the artifact location '{url}': {error}"
            raise ArtifactError(
                message,
                remedy="Use a path, or a URL whose fsspec driver is installed (s3fs for s3://, gcsfs for gs://).",
            ) from error
        self._filesystem: Any = filesystem
        self._root = str(root).rstrip("/")
        super().__init__(str(filesystem.unstrip_protocol(self._root)))

    def _inside(self, relative: str) -> str:
        return f"{self._root}/{relative}" if relative else self._root

    @property
    def parent(self) -> Folder:
        """The folder that holds this one."""
        return RemoteFolder(self.url.rpartition("/")[0])

    def open(self, relative: str) -> IO[bytes]:
        """Open a file below for reading."""
        return cast("IO[bytes]", self._filesystem.open(self._inside(relative), "rb"))

    def size(self, relative: str) -> int | None:
        """Give a file's bytes, or None where there is no file."""
        with storage_errors(self.child(relative), "look at"):
            try:
                info = self._filesystem.info(self._inside(relative))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def subfolders(self, relative: str = "") -> list[str]:
        """List the names of the folders directly below."""
        with storage_errors(self.child(relative), "list"):
            # Drivers remember listings, and another process may have published since.
            self._filesystem.invalidate_cache(self._inside(relative))
            try:
                entries = self._filesystem.ls(self._inside(relative), detail=True)
            except FileNotFoundError:
                return []
        return sorted(_last(entry["name"]) for entry in entries if entry["type"] == "directory")

    def files(self) -> dict[str, int]:
        """Find every file below; none where there is nothing, as stores of objects know no empty folders."""
        with storage_errors(self.url, "list"):
            found = self._filesystem.find(self._root, detail=True)
        prefix = f"{self._root}/"
        return {
            str(name).removeprefix(prefix) if str(name) != self._root else _last(name): int(info["size"])
            for name, info in found.items()
        }

    def create(self, folder: str, name: str, content: bytes) -> None:
        """Make the file; as exclusive as the driver's `create` mode is (one conditional request on S3)."""
        with storage_errors(self.child(folder), "write to", let=FileExistsError):
            self._filesystem.pipe_file(self._inside(f"{folder}/{name}"), content, mode="create")


def _last(name: object) -> str:
    return str(name).rstrip("/").rpartition("/")[2]
