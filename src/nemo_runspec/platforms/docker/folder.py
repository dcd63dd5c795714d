"""The folder of a job on this machine, which its containers find on `/nemo_run`."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.contents import SECRETS_FILE, export_lines, filled, is_below, tree_files
from nemo_runspec.platforms.docker.request import CODE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nemo_runspec.platforms.workload import Request

_LOCK: Final = ".submit.lock"
_CANCELLED: Final = ".cancelled"
_POLL_S: Final = 0.05
_FORGET: Final = """\
# The last of the job's containers ({readers} of them) to read this file removes it: nobody may look when they end.
(
    file=${{BASH_SOURCE[0]}}
    read -r reader </proc/sys/kernel/random/uuid && : >"$file.$reader" && readers=("$file".*-*)
    [ "${{#readers[@]}}" -lt {readers} ] || rm -f -- "$file" "${{readers[@]}}"
) 2>/dev/null || :
"""
_PRIVATE: Final = 0o600
_PRIVATE_EXECUTABLE: Final = 0o700


class JobFolder:
    """A job's folder.

    Args:
        path: Where it is; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        """Touch nothing."""
        self.path = path

    @contextmanager
    def locked(self, seconds: float, *, make: bool = False) -> Iterator[None]:
        """Keep other processes of this machine from submitting, finding or cancelling the job meanwhile.

        Args:
            seconds: How long to wait for another.
            make: Whether the folder is made; without it, there is nothing to lock where it is not.

        Raises:
            UnreachableError: Another process has not let go.
            RefusedError: The folder cannot be made.
        """
        if make:
            with _writing(self.path):
                _make_private(self.path)
        try:
            handle = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            if make:
                raise _unwritable(self.path, error) from error
            yield
            return
        try:
            self._wait_for(handle, seconds)
            yield
        finally:
            os.close(handle)

    def _wait_for(self, handle: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    message = f"another process has been busy with the job '{self.path.name}' for {seconds:.0f} s"
                    raise UnreachableError(message, remedy="Try again when it has ended.") from None
                time.sleep(_POLL_S)
            else:
                return

    def fill(self, request: Request) -> None:
        """Write what a request says that lies in it.

        Raises:
            RefusedError: It cannot be written, such as on a full disk.
        """
        with _writing(self.path):
            (self.path / _CANCELLED).unlink(missing_ok=True)
            _make_private(self.path / CODE_FOLDER)  # where a launch script begins
            for name, content, executable in tree_files(request.source) if request.source is not None else ():
                _write(self.path / CODE_FOLDER / name, content, _mode(executable=executable))
            for name, (content, executable) in request.files.items():
                path = _inside(self.path, name)
                _write(path, filled(content, self.path.name), _mode(executable=executable))
            if request.secrets:
                forget = _FORGET.format(readers=len(request.body["containers"]))
                _write(self.path / SECRETS_FILE, (export_lines(request.secrets) + forget).encode(), _PRIVATE)

    def discard(self) -> None:
        """Remove the folder of a job that was never accepted."""
        shutil.rmtree(self.path, ignore_errors=True)

    def discard_unused(self) -> None:
        """Remove a folder that has been locked and in which nothing has been written."""
        with suppress(OSError):
            if [path.name for path in self.path.iterdir()] == [_LOCK]:
                self.discard()

    def forget_secrets(self) -> None:
        """Remove the file with the secrets."""
        with suppress(OSError):
            (self.path / SECRETS_FILE).unlink(missing_ok=True)

    def cancelled(self) -> frozenset[str] | None:
        """Give the containers that had not ended when the job was cancelled; None where it was not."""
        try:
            return frozenset((self.path / _CANCELLED).read_text(encoding="utf-8").split())
        except OSError:
            return None

    def mark_cancelled(self, containers: Iterable[str]) -> None:
        """Remember that the job is cancelled, so that it does not count as failed.

        Args:
            containers: Those that have not ended.
        """
        with suppress(OSError):  # to stop it matters more
            _write(self.path / _CANCELLED, "\n".join(containers).encode(), _PRIVATE)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RefusedError:
    message = f"the job's folder cannot be written: {error.filename or path}: {error.strerror}"
    return RefusedError(message)


def _inside(folder: Path, name: str) -> Path:
    if not is_below(name):
        message = f"{name!r} is no path below the job's folder"
        raise RefusedError(message)
    return folder / name


def _mode(*, executable: bool) -> int:
    return _PRIVATE_EXECUTABLE if executable else _PRIVATE


def _make_private(folder: Path) -> None:
    """Make a folder and those above it; `parents=True` would make the latter with other rights."""
    lacking = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(lacking):
        path.mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a private file, in the place of one that may be there."""
    _make_private(path.parent)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
