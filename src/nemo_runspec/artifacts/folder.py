"""A place where files are: on this machine in `local_folder`, elsewhere in `remote_folder`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import IO


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
