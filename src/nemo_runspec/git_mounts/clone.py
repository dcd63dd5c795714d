"""Clones one git repository at one commit in a pod: `python3 clone.py HOME URL COMMIT TARGET`.

This file travels with a job and runs on whatever Python the image has: standard library only, Python 3.8 or newer.
A clone is kept at `HOME/_nemotron/git-COMMIT`, where later jobs find it, and no job ever works in it: each job fetches
its own clone from there, to `.git-mounts/COMMIT` in its folder, and TARGET becomes a link to that. git computes the
names of all objects anew when it fetches, so that nothing of the kept clone's work tree, and no object that somebody
has changed, gets into a job. A kept clone from which the commit cannot be fetched is left alone, and another one is
made beside it, with a number behind its name. Submodules are not fetched.

It waits for locks, sweeps, looks at owners and renames much like `data_mover/pod/unpack.py`, and stands alone all the
same: it is one plain file of a job, started by a line of the launch script, also in jobs into which no code of the data
mover gets (Slurm), while the pod's modules are a value in the environment that is gone before that script runs.
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
_PARTIAL = ".tmp.git-"
_KEPT = 16
"""How many kept clones of one commit may be damaged before jobs do without."""

_OWN = ".git-mounts"
_JOB_FOLDER = "NEMO_RUNSPEC_JOB_DIR"
# `_is_trusted` has looked at the owner, whom some volumes show as another than this user.
_GIVE = "git -c safe.directory='*' -c uploadpack.allowAnySHA1InWant=true upload-pack"
_GIT = ("git", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", "-c", "core.hooksPath=/dev/null")


class CloneError(Exception):
    """The repository cannot be had; the text says why."""


def clone(home: Path, url: str, commit: str, job: Path | None = None) -> Path:
    """Give the folder of a repository at a commit, which is the job's own.

    Args:
        home: Folder on a volume; a folder `_nemotron` in it keeps clones for later jobs.
        url: The repository's address.
        commit: 40 hexadecimal digits.
        job: The job's folder; a temporary folder of this pod when not given.

    Raises:
        CloneError: git is missing or fails, or `commit` is none.
    """
    if not _COMMIT.fullmatch(commit):
        message = f"'{commit}' is not the 40 digits of a commit"
        raise CloneError(message)
    store = home / "_nemotron"
    store.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="nemotron-git-")) if job is None else job / _OWN
    place.mkdir(mode=0o700, exist_ok=True)
    own = place / commit
    if own.is_dir():
        return own  # another pod of the job has put it there, whole
    for number in range(_KEPT):
        kept = store / (f"git-{commit}-{number}" if number else f"git-{commit}")
        problem = _keep(kept, url, commit)
        if not problem:
            try:
                return _make(own, url, commit, kept)
            except CloneError as failure:
                problem = str(failure)
        sys.stderr.write(f"[nemo-runspec] {kept} is not used: {problem}\n")
    return _make(own, url, commit)


def _keep(kept: Path, url: str, commit: str) -> str:
    """Make a clone for later jobs, unless it is there; say what is wrong with what is there."""
    if not os.path.lexists(kept):
        _make(kept, url, commit)
    # mkdtemp makes it for this user alone, and shows as whom this file system sees this user.
    probe = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=kept.parent))
    try:
        owner = probe.stat().st_uid
    finally:
        probe.rmdir()
    return "" if _is_trusted(kept, owner) else "it is no folder that only this user may write to"


def _make(final: Path, url: str, commit: str, kept: Path | None = None) -> Path:
    """Clone a commit into a folder, whole or not at all; another pod may be faster."""
    with _one_at_a_time(final.parent, final):
        _sweep(final.parent)
        if os.path.lexists(final):
            return final
        work = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=final.parent))
        try:
            _fetch(work, url, commit, kept)
            work.chmod(0o755)
            _take_place(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


@contextlib.contextmanager
def _one_at_a_time(store: Path, final: Path) -> Iterator[None]:
    """Let one pod clone and the others wait for it; without working locks all clone, and the first one wins."""
    handle = os.open(store, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while not os.path.lexists(final) and time.monotonic() < deadline:
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
    for left in store.glob(f"{_PARTIAL}*"):
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


def _fetch(folder: Path, url: str, commit: str, kept: Path | None) -> None:
    """Fetch one commit, from a kept clone if there is one; all of the history from servers without single commits."""
    _git(folder, "init", "--quiet")
    _git(folder, "remote", "add", "--", "origin", url)
    one = ("fetch", "--quiet", "--no-tags", "--depth=1")
    if kept is not None:
        _git(folder, *one, f"--upload-pack={_GIVE}", "--", str(kept.absolute()), commit)
    else:
        try:
            _git(folder, *one, "origin", commit)
        except CloneError:
            _git(folder, "fetch", "--quiet", "--tags", "origin", "+refs/*:refs/remotes/origin/*")
    _git(folder, "checkout", "--quiet", "--detach", commit)
    if _git(folder, "rev-parse", "HEAD").strip() != commit:
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


def _take_place(work: Path, final: Path) -> None:
    """Rename a complete clone to its place, unless another pod's is there."""
    try:
        work.rename(final)
    except OSError as failure:
        if failure.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise


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
        job = os.environ.get(_JOB_FOLDER)
        folder = clone(Path(home), url, commit, Path(job) if job else None)
        link(Path(target), folder)
    except (CloneError, OSError) as failure:
        sys.stderr.write(f"[nemo-runspec] {url} at {commit} is not mounted on {target}: {failure}\n")
        return 1
    sys.stdout.write(f"[nemo-runspec] {url} at {commit} is on {target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
