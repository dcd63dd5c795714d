"""Source trees on their way to a cluster: unpacked here while they are sent, listed so that they can be verified."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import UnreachableError
from nemo_runspec.platforms.abandoning import pause, refuse_if_abandoned
from nemo_runspec.platforms.contents import tree_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.workload import Tree

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = ".tmp."
_STALE_S: Final = 86_400.0
"""What was left here so long ago belongs to a process that was killed."""
_LOCK_POLL_S: Final = 0.1


def unpack(tree: Tree, folder: Path) -> Path:
    """Give a folder with the files of a tree, whole or not at all; several processes may do it at once.

    Args:
        tree: The tree.
        folder: Where trees are unpacked; it is made, for us alone.

    Raises:
        RefusedError: The archive is not what its digest says, or holds something else than files below its root.
        OSError: Nothing can be written here.
    """
    _sweep(folder)
    target = folder / tree.sha256
    if target.is_dir():
        return target
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        for name, data, executable in tree_files(tree):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o700 if executable else 0o600)
                file.write(data)
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def digests(tree: Tree) -> tuple[bytes, int]:
    """Give the list of a tree's files as `sha256sum --check` reads it, and how many there are.

    Raises:
        RefusedError: The archive holds something else than files below its root.
    """
    lines = []
    for name, data, _ in tree_files(tree):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
        mark = "" if escaped == name else "\\"
        lines.append(f"{mark}{hashlib.sha256(data).hexdigest()}  {escaped}\n".encode("utf-8", "surrogateescape"))
    return b"".join(lines), len(lines)


@contextlib.contextmanager
def turn(sha256: str, folder: Path, wait_s: float) -> Iterator[None]:
    """Let one process of this machine at a time send a tree; whoever comes second finds that it has been sent.

    Args:
        sha256: The tree's digest.
        folder: Where trees are unpacked; it is made, for us alone.
        wait_s: How long to wait, in seconds.

    Raises:
        UnreachableError: Somebody else still sends it.
        AbandonedError: Nobody wants the job any more.
    """
    if not _DIGEST.fullmatch(sha256):
        message = f"a digest is 64 hexadecimal digits, not '{sha256}'"
        raise ValueError(message)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    until = time.monotonic() + wait_s
    with (folder / f".{sha256}.lock").open("a", encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as failure:
                if time.monotonic() > until:
                    message = f"another process has not finished sending the source within {wait_s:g} s"
                    raise UnreachableError(message, remedy="Submit again later.") from failure
                refuse_if_abandoned()
                pause(_LOCK_POLL_S)
        yield


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left long ago."""
    for entry in os.scandir(folder):
        # Another process may sweep at the same moment.
        with contextlib.suppress(OSError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()
