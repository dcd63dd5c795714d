"""Clones one git repository at one commit in a pod: `python3 clone.py HOME URL COMMIT TARGET`.

This file travels with a job and runs on whatever Python the image has: standard library only, Python 3.8 or newer.
The clone is kept at `HOME/_nemotron/git-COMMIT`, where later pods and jobs find it; TARGET becomes a link to it.
Submodules are not fetched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A quoted annotation is never evaluated, so Python 3.8 reads these too.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOCK_SECONDS = 600.0
_LOCK_POLL_SECONDS = 0.2
_STALE_SECONDS = 3600.0
_GIT = ("git", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", "-c", "core.hooksPath=/dev/null")


class CloneError(Exception):
    """The repository cannot be had; the text says why."""


def clone(home: Path, url: str, commit: str) -> Path:
    """Give the folder of a repository at a commit, cloned when no pod has done it before.

    Args:
        home: Folder on a volume; a folder `_nemotron` in it keeps the clones.
        url: The repository's address.
        commit: 40 hexadecimal digits.

    Raises:
        CloneError: git is missing or fails, or `commit` is none.
    """
    if not _COMMIT.fullmatch(commit):
        message = f"'{commit}' is not the 40 digits of a commit"
        raise CloneError(message)
    store = home / "_nemotron"
    store.mkdir(parents=True, exist_ok=True)
    final = store / f"git-{commit}"
    with _one_at_a_time(store, final):
        _sweep(store)
        # mkdtemp makes it for this user alone, and shows as whom this file system sees this user.
        work = Path(tempfile.mkdtemp(prefix=".tmp.git-", dir=store))
        owner = work.stat().st_uid
        try:
            if _is_trusted(final, owner) and _head(final) == commit:
                return final
            _fetch(work, url, commit)
            work.chmod(0o755)
            if _take_place(work, final) or (_is_trusted(final, owner) and _head(final) == commit):
                return final
            # Somebody else's folder is in the way: a clone of this pod's own, outside the volume.
            private = Path(tempfile.mkdtemp(prefix="nemotron-git-")) / commit
            shutil.move(str(work), str(private))
            return private
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time(store: Path, final: Path) -> Iterator[None]:
    """Let one pod clone and the others wait for it; without working locks all clone, and the first one wins."""
    handle = os.open(store, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while not final.exists() and time.monotonic() < deadline:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_POLL_SECONDS)
            except OSError:
                break  # this file system has no locks, which only save time
        yield
    finally:
        os.close(handle)


def _sweep(store: Path) -> None:
    """Remove what pods left that were killed while they cloned."""
    for left in store.glob(".tmp.git-*"):
        with contextlib.suppress(OSError):  # another pod sweeps too
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _is_trusted(folder: Path, owner: int) -> bool:
    """Tell whether a folder is this user's, and nobody else can write in it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _head(folder: Path) -> str:
    try:
        return _git(folder, "rev-parse", "HEAD").strip()
    except CloneError:
        return ""


def _fetch(folder: Path, url: str, commit: str) -> None:
    """Fetch one commit; all of the history from servers that do not give out single commits."""
    _git(folder, "init", "--quiet")
    _git(folder, "remote", "add", "--", "origin", url)
    try:
        _git(folder, "fetch", "--quiet", "--no-tags", "--depth=1", "origin", commit)
    except CloneError:
        _git(folder, "fetch", "--quiet", "--tags", "origin", "+refs/*:refs/remotes/origin/*")
    _git(folder, "checkout", "--quiet", "--detach", commit)
    if _head(folder) != commit:
        message = f"{url} gave another commit than {commit}"
        raise CloneError(message)


def _git(folder: Path, *arguments: str) -> str:
    environment = {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes", **os.environ, "GIT_TERMINAL_PROMPT": "0"}
    # A job's own settings for another repository would send these commands there.
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)
    # Said outright, so that git neither searches the folders above nor judges the owner, whom some volumes hide.
    place = ("-C", str(folder), "--git-dir=.git", "--work-tree=.")
    command = [*_GIT, *place, *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
        )
    except FileNotFoundError as failure:
        message = "the image has no git, which cloning needs; choose one that has"
        raise CloneError(message) from failure
    if done.returncode != 0:
        message = f"git {arguments[0]}: {done.stderr.strip() or 'no reason given'}"
        raise CloneError(message)
    return done.stdout


def _take_place(work: Path, final: Path) -> bool:
    """Rename a complete clone to its place; False when something is there already."""
    try:
        os.rename(work, final)  # noqa: PTH104 - Path.rename gives nothing more
    except OSError as failure:
        if failure.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


def link(target: Path, folder: Path) -> None:
    """Make `target` a link to a folder. What the image has there is moved aside.

    Raises:
        CloneError: What is there cannot be moved and is not the pod's own.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_symlink():
        _clear(target)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.symlink_to(folder)
    fresh.replace(target)


def _clear(target: Path) -> None:
    aside = target.with_name(f"{target.name}.of-image-{os.getpid()}")
    try:
        target.rename(aside)
    except OSError as failure:
        # Folders of an image's lower layers cannot be renamed on overlayfs; those are the pod's own to remove.
        if failure.errno != errno.EXDEV or target.stat().st_dev != Path("/").stat().st_dev or target.is_mount():
            message = f"{target} is there already and cannot be moved aside: {failure.strerror}"
            raise CloneError(message) from failure
        shutil.rmtree(target)


def main(arguments: Sequence[str]) -> int:
    """Clone and link; the exit code is 1 when that does not work, with the reason on stderr."""
    if len(arguments) != 4:  # noqa: PLR2004 - the four that the module's first line names
        sys.stderr.write("use: clone.py HOME URL COMMIT TARGET\n")
        return 2
    home, url, commit, target = arguments
    os.umask(0o022)
    try:
        folder = clone(Path(home), url, commit)
        link(Path(target), folder)
    except (CloneError, OSError) as failure:
        sys.stderr.write(f"[nemo-runspec] {url} at {commit} is not mounted on {target}: {failure}\n")
        return 1
    sys.stdout.write(f"[nemo-runspec] {url} at {commit} is on {target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
