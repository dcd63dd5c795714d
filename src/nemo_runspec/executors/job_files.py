"""The files of a job as nemo-run has laid them out, as far as the job needs them in its pods."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tarfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nemo_runspec.platforms.workload import JobFiles

_SCRIPTS: Final = "scripts"
_CONFIGS: Final = "configs"
_CODE: Final = "code"
_PRIVATE: Final = ".nemo_runspec"
"""What packagers gave, a folder for each task: nemo-run lets tasks of one name share a folder."""

_OWNER_ONLY: Final = 0o700

log = logging.getLogger(__name__)


def collect(job_dir: Path, name: str) -> JobFiles:
    """Give the files of a task: its script, the serialised task, and what a packager gave, as `code`.

    Of `scripts` and `configs` only what bears the task's name, and never nemo-run's own descriptions: they repeat the
    executor with every variable, and no pod reads them. A link is followed within the folder, and left out with a
    warning where it leads elsewhere.

    Args:
        job_dir: The folder on this machine; other tasks may have theirs there too.
        name: The task's name, as nemo-run calls its files.

    Raises:
        PayloadError: A file cannot be read.
    """
    # nemo-run keeps a name with a `/` in folders, and calls the script without them.
    script = PurePosixPath(_SCRIPTS, f"{name}.sh")
    own = {script: f"{_SCRIPTS}/{script.name}"}
    task = f"{_CONFIGS}/{name}_fn_or_script"
    own[PurePosixPath(task)] = task
    files = dict(_tree(job_dir, passed_over=(_SCRIPTS, _CONFIGS, _PRIVATE)))
    files |= {sent: read(job_dir / path) for path, sent in own.items() if (job_dir / path).is_file()}
    files |= {f"{_CODE}/{path}": content for path, content in _tree(code_folder(job_dir, name))}
    return MappingProxyType(files)


def code_folder(job_dir: Path, name: str) -> Path:
    """Give the folder for what a packager gives for a task, which no other task sees.

    Args:
        job_dir: As for `collect`.
        name: As for `collect`.
    """
    # Whatever a name holds, and however long it is.
    return job_dir / _PRIVATE / hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


def prepare(job_dir: Path) -> None:
    """Make a task's folder, which its owner alone may see."""
    job_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (job_dir / _PRIVATE).mkdir(mode=0o700, exist_ok=True)


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


def _tree(folder: Path, passed_over: Collection[str] = ()) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    """Yield the files below a folder, with their names from there.

    Args:
        folder: The folder.
        passed_over: Names of what is left out directly in it.
    """
    root = folder.resolve()
    for path in _paths(folder, passed_over):
        target = path.resolve()
        if not target.is_relative_to(root) or (path.is_symlink() and not target.is_file()):
            log.warning("%s is a link that does not lead to a file of the job, and does not travel", path)
        elif target.is_file():
            yield path.relative_to(folder).as_posix(), read(path)


def _paths(folder: Path, passed_over: Collection[str] = ()) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in passed_over:
            continue
        if path.is_symlink() or not path.is_dir():
            yield path
        elif not (path / _PRIVATE).is_dir():  # else the folder of a task whose name begins with this one's and a `/`
            yield from _paths(path)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack what a nemo-run packager made; paths are taken as they are, by no shell.

    Args:
        archive: The packager's archive, gzipped.
        folder: Where its files go, and nothing else is; what was there is removed.

    Raises:
        PayloadError: It is no such archive, or holds what would lie outside the folder.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        # ignore_zeros: packagers append archives to one another.
        with tarfile.open(archive, ignore_zeros=True) as tar:
            tar.extractall(folder, filter="tar")
    except (OSError, tarfile.TarError) as error:
        message = f"the packager's archive cannot be unpacked: {archive}: {error}"
        raise PayloadError(message) from error


def make_private(folder: Path, *, deep: bool = True) -> None:
    """Take from a folder and its files what group and others may do.

    Args:
        folder: The folder; what somebody removes from it meanwhile is passed over.
        deep: Whether folders in it are treated likewise, and the files in those.
    """
    for place, folders, files in os.walk(folder):
        for name in ("", *folders, *files):
            path = Path(place, name)
            with suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                if not stat.S_ISLNK(mode):
                    path.chmod(mode & _OWNER_ONLY)
        if not deep:
            break
