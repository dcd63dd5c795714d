"""The files of a job as nemo-run has laid them out, as far as the job needs them in its pods."""

from __future__ import annotations

import logging
import stat
import tarfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.executors.request import JobFiles

_CONFIGS: Final = "configs"
_UNREAD: Final = (".yaml", "_packager")
"""Endings of what nemo-run writes into `configs` for a person to read: the whole executor, and the task once more."""

_OWNER_ONLY: Final = 0o700

log = logging.getLogger(__name__)


def collect(job_dir: Path) -> JobFiles:
    """Give the files of a job's folder: scripts, the serialised task, and what a packager unpacked to `code`.

    nemo-run's own descriptions are left out: they repeat the executor with every variable, and no pod reads them. A
    link is followed within the folder, and left out with a warning where it leads elsewhere.

    Args:
        job_dir: The folder on this machine.

    Raises:
        PayloadError: A file cannot be read.
    """
    root = job_dir.resolve()
    files = {path.relative_to(job_dir).as_posix(): read(path) for path in _regular(job_dir, root)}
    return MappingProxyType(files)


def read(path: Path) -> tuple[bytes, bool]:
    """Give a file's content, and whether its owner may execute it.

    Raises:
        PayloadError: It cannot be read.
    """
    try:
        return path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR)
    except OSError as error:
        message = f"a file of the job cannot be read: {path}: {error.strerror}"
        raise PayloadError(message) from error


def _regular(job_dir: Path, root: Path) -> Iterator[Path]:
    for path in sorted(job_dir.rglob("*")):
        if path.parent == job_dir / _CONFIGS and path.name.endswith(_UNREAD):
            continue
        target = path.resolve()
        if not target.is_relative_to(root) or (path.is_symlink() and not target.is_file()):
            log.warning("%s is a link that does not lead to a file of the job, and does not travel", path)
        elif target.is_file():
            yield path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack what a nemo-run packager made; paths are taken as they are, by no shell.

    Args:
        archive: The packager's archive, gzipped.
        folder: Where its files go.

    Raises:
        PayloadError: It is no such archive, or holds what would lie outside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # ignore_zeros: packagers append archives to one another.
        with tarfile.open(archive, ignore_zeros=True) as tar:
            tar.extractall(folder, filter="tar")
    except (OSError, tarfile.TarError) as error:
        message = f"the packager's archive cannot be unpacked: {archive}: {error}"
        raise PayloadError(message) from error


def make_private(folder: Path, *, deep: bool = True) -> None:
    """Take from a folder and its files what group and others may do.

    Args:
        folder: The folder, in which nobody else removes anything meanwhile.
        deep: Whether folders in it are treated likewise, and the files in those.
    """
    for path in (folder, *(folder.rglob("*") if deep else folder.iterdir())):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(mode & _OWNER_ONLY)
