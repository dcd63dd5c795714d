"""The files of an artifact: which they are, how large, and their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.artifacts.opening import open_folder
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from nemo_runspec.artifacts.folder import Folder

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact.

    Args:
        path: Where it is, relative to the artifact's path, with `/`; its own name when the artifact is one file.
        size: Bytes.
        sha256: Digest of its content, in hex.
    """

    path: str
    size: int
    sha256: str


def list_files(path: str, *, leave_out: Collection[str] = ()) -> tuple[FileEntry, ...]:
    """Find and digest every file of an artifact, sorted by path.

    Links are followed: what a reader of the artifact would see is what is listed. Content is read in pieces, so a
    file of any size takes constant memory.

    Args:
        path: Absolute path or URL of a folder or of one file.
        leave_out: Relative paths that are not part of the artifact.

    Raises:
        ArtifactError: There is nothing there, a folder has no files, or it holds something that is neither a file nor
            a folder (a dangling link, a socket), which a copy of the artifact would lack.
    """
    folder = open_folder(path)
    base = _base(folder)
    entries = tuple(
        FileEntry(relative, size, _file_digest(base, relative))
        for relative, size in sorted(folder.files().items())
        if relative not in leave_out
    )
    if not entries:
        message = f"there are no files in {path}"
        raise ArtifactError(message, remedy="Check what the stage wrote, and where.")
    return entries


def missing_files(path: str, entries: Iterable[FileEntry]) -> list[str]:
    """Name the files of an artifact that are gone or have another size; contents are not read.

    Args:
        path: Absolute path or URL of the artifact.
        entries: The files that it had when it was published.
    """
    base = _base(open_folder(path))
    return [entry.path for entry in entries if base.size(entry.path) != entry.size]


def _base(folder: Folder) -> Folder:
    """Give what the paths of entries are relative to: the folder, or the one that holds it when it is one file."""
    return folder if folder.size("") is None else folder.parent


def _file_digest(base: Folder, relative: str) -> str:
    with storage_errors(base.child(relative), "read"), base.open(relative) as file:
        digest = hashlib.sha256()
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
        return digest.hexdigest()
