"""One archive for the same files, on every machine and at any time: no times, no owners, a fixed order."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from dataclasses import dataclass
from operator import attrgetter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PayloadError
from nemo_runspec.platforms.workload import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.data_mover.select import SourceFile

FILE_MODE: Final = 0o644
EXECUTABLE_MODE: Final = 0o755

# Given in full, as a preset's meaning may change: the strongest preset, with a dictionary that holds any source that
# may travel and takes no 700 MB to search, and literal bits for text (xz(1), LZMA2 options).
_FILTERS: Final = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": 1 << 24,
        "lc": 4,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "mf": lzma.MF_BT4,
        "nice_len": 273,
        "depth": 512,
    }
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive.

    Args:
        name: Its path in the archive, with `/`.
        data: Its content.
        executable: Whether its owner may execute it.
    """

    name: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar archive, compressed.

    Args:
        data: Its bytes, compressed.
        sha256: Its address: the digest of the tar archive before it is compressed, which is the same whatever version
            of xz a machine has.
        tar_bytes: Size of that.
        files: Name and size of each file, in the order of the names.
    """

    data: bytes
    sha256: str
    tar_bytes: int
    files: tuple[tuple[str, int], ...]

    @property
    def raw_bytes(self) -> int:
        """Size of all files."""
        return sum(size for _, size in self.files)


def compress(data: bytes) -> bytes:
    """Compress as strongly as xz can; the same bytes give the same result."""
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=_FILTERS)


def read(files: Iterable[SourceFile]) -> tuple[Entry, ...]:
    """Read the files that travel.

    Raises:
        PayloadError: A file cannot be read.
    """
    entries = []
    for file in files:
        try:
            entries.append(Entry(file.name, file.path.read_bytes(), file.executable))
        except OSError as error:
            message = f"cannot read {file.path}: {error.strerror}"
            raise PayloadError(
                message, remedy="Make it readable, or leave it out with the profile's exclude."
            ) from error
    return tuple(entries)


def pack(entries: Iterable[Entry]) -> Archive:
    """Make the archive of some files.

    Args:
        entries: In any order. Files of one kind are put side by side, where they compress best.

    Raises:
        PayloadError: A name is not one that the pod takes: relative, without `..`, once.
    """
    files = tuple(entries)
    tree = tree_of(files)
    sizes = tuple((entry.name, len(entry.data)) for entry in sorted(files, key=attrgetter("name")))
    return Archive(compress(tree.tar), tree.sha256, len(tree.tar), sizes)


def tree_of(entries: Iterable[Entry]) -> Tree:
    """Make the archive of some files without compressing it.

    Args:
        entries: As for `pack`.

    Raises:
        PayloadError: As `pack`.
    """
    ordered = sorted(entries, key=lambda entry: (PurePosixPath(entry.name).suffix, entry.name))
    names: set[str] = set()
    folders = {parent.as_posix() for entry in ordered for parent in PurePosixPath(entry.name).parents}
    for name in (entry.name for entry in ordered):
        parts = name.split("/")
        if not all(parts) or {".", ".."} & set(parts) or "\0" in name or name in names or name in folders:
            message = f"{name!r} cannot be the name of a file that travels"
            raise PayloadError(
                message, remedy="Names are relative paths without '.' and '..', each once, and no file is a folder."
            )
        names.add(name)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for entry in ordered:
            member = tarfile.TarInfo(entry.name)  # mtime, uid and gid are 0, the names of the owners empty
            member.size = len(entry.data)
            member.mode = EXECUTABLE_MODE if entry.executable else FILE_MODE
            tar.addfile(member, io.BytesIO(entry.data))
    tar_data = raw.getvalue()
    return Tree(hashlib.sha256(tar_data).hexdigest(), tar_data)
