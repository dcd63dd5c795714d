"""Archives out of environment variables into folders, each of them whole or not there.

Any number of pods may do it at once on one volume, and any of them may be killed: each makes a folder of its own
beside the target, and one rename(2) puts it in place. Whoever comes second finds it there. Locks only spare work.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .variables import SAFE_CHARACTERS, UNSAFE_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MISMATCH = "payload sha256 mismatch"
PARTIAL = ".tmp."
"""What the names of folders begin with that are being made."""

STALE_S = 3600.0
"""A partial folder that nobody has touched for so long belongs to a process that was killed."""

READABLE = 0o755
OF_ALL_JOBS = 0o555
"""Files that jobs share are not to be written; that stops whoever is not root."""

TREES = 16
"""How many copies of one source may have been changed before jobs take one of their own."""

LOCK_WAIT_S = 60.0
LOCK_POLL_S = 0.05
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class PodError(Exception):
    """The job cannot start in this pod; the text says why."""


class UntrustedError(Exception):
    """Somebody else could have written what is there, or it is not what it should be."""


class Member(NamedTuple):
    """One file: its relative path, its content, and whether it is executable."""

    name: str
    data: bytes
    executable: bool


def payload(environ: Mapping[str, str], prefix: str, count: int, sha256: str, size: int) -> bytes:
    """Join the chunks in an environment, and give what they hold, verified.

    Args:
        environ: The variables.
        prefix: What the names begin with; a number follows.
        count: How many there are.
        sha256: Digest of what they hold before it is compressed, in hexadecimal digits.
        size: Bytes of that.

    Raises:
        PodError: A chunk is missing or not what was sent.
    """
    missing = [prefix + str(number) for number in range(count) if prefix + str(number) not in environ]
    if missing:
        message = f"{MISMATCH}: {len(missing)} of {count} chunks missing, the first is {missing[0]}"
        raise PodError(message)
    text = "".join(environ[prefix + str(number)] for number in range(count))
    try:
        packed = base64.b85decode(text.encode("ascii").translate(bytes.maketrans(SAFE_CHARACTERS, UNSAFE_CHARACTERS)))
        reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        data = reader.decompress(packed, size + 1)
        if not reader.eof or reader.unused_data:
            data = b""
    except (ValueError, lzma.LZMAError):
        data = b""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        message = f"{MISMATCH}: {prefix}* should be {sha256} and is {found}"
        raise PodError(message)
    return data


def members(archive: bytes) -> list[Member]:
    """Read an archive, decompressed.

    Raises:
        PodError: It holds something else than regular files below its root.
    """
    found = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            parts = member.name.split("/")
            stream = tar.extractfile(member) if member.type in REGULAR else None
            if stream is None or not all(parts) or {".", ".."} & set(parts):
                message = f"refusing the archive's member {member.name!r}"
                raise PodError(message)
            found.append(Member(member.name, stream.read(), bool(member.mode & stat.S_IXUSR)))
    return found


def shared_tree(files: Sequence[Member], trees: Path, name: str) -> tuple[Path, list[str]]:
    """Give a folder that jobs share, with exactly these files.

    One that somebody has changed is left alone, as jobs may still use it, and the next number behind the name is
    taken. All pods try the names in the same order, so that they agree.

    Args:
        files: What it shall hold.
        trees: The folder above; only we may write to it.
        name: Name of the first that is tried.

    Returns:
        The folder, and why others were not taken.

    Raises:
        UntrustedError: None of them can be used.
        OSError: The folder above cannot be written to.
    """
    refused = []
    for number in range(TREES):
        folder = trees / (name + "-" + str(number) if number else name)
        stage(files, folder, READABLE, OF_ALL_JOBS)
        try:
            check_tree(files, folder)
        except UntrustedError as error:
            refused.append(f"{folder} is not used: {error}")
        else:
            return folder, refused
    message = f"{TREES} copies of it were changed, the last one: {refused[-1]}"
    raise UntrustedError(message)


def stage(files: Sequence[Member], target: Path, folder_mode: int, file_mask: int = 0o777) -> None:
    """Put files into a folder, unless they are there.

    Args:
        files: What it shall hold.
        target: The folder; the one above it exists.
        folder_mode: Permission bits of the folder and of those in it; files get the same, less what executes.
        file_mask: Which of these bits files keep.

    Raises:
        OSError: The folder above cannot be written to.
    """
    with _locked(target.parent):
        if os.path.lexists(target):
            return
        sweep(target.parent)
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{target.name}.", dir=target.parent))
        try:
            for member in files:
                _write(partial, member, folder_mode, file_mask)
            partial.chmod(folder_mode)
            try:
                partial.rename(target)
            except OSError as error:
                # Another pod was faster: its folder stands there, and is the same.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_owner(folder: Path) -> None:
    """See that a folder is ours alone to write.

    Raises:
        UntrustedError: It belongs to somebody else, or others may write to it.
    """
    _check_owner(folder, os.geteuid(), OTHERS_MAY_WRITE)


def check_tree(files: Sequence[Member], folder: Path) -> None:
    """See that a folder holds files as they were sent and nothing else, and that only we may write there.

    Raises:
        UntrustedError: One of them is missing or different, or there are others, or other owners.
    """
    sent = {member.name for member in files}
    folders = {name[:end] for name in sent for end in range(len(name)) if name[end] == "/"}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        check_owner(folder / inside)
        try:
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = inside + "/" + entry.name if inside else entry.name
                    if name in folders:
                        waiting.append(name)
                    elif name not in sent:
                        message = f"{entry.path} was not sent"
                        raise UntrustedError(message)
        except OSError as error:
            raise UntrustedError(str(error)) from error
    check_content(files, folder)


def check_content(files: Sequence[Member], folder: Path) -> None:
    """See that a folder holds files as they were sent.

    Raises:
        UntrustedError: One of them is missing or different.
    """
    for member in files:
        path = folder / member.name
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                same = file.read() == member.data
        except OSError:
            same = False
        if not same:
            message = f"{path} is not what was sent"
            raise UntrustedError(message)


def check_job_folder(folder: Path) -> None:
    """See that a job's folder is no trap of another user.

    A volume may show other owners and permissions than those that were asked for (an NFS server maps root to nobody),
    so that a folder made now, in the same place, says how our own look there.

    Raises:
        UntrustedError: It belongs to somebody else, or others may write to it.
        OSError: The folder above it cannot be written to.
    """
    probe = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
    try:
        ours = probe.lstat()
    finally:
        probe.rmdir()
    _check_owner(folder, ours.st_uid, OTHERS_MAY_WRITE & ~ours.st_mode)


def make_private(folder: Path) -> None:
    """Make a folder that others may read and only we may write, unless it is there.

    Raises:
        UntrustedError: It is there, and others may write to it.
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        pass  # whose it is, is looked at below
    else:
        folder.chmod(READABLE)  # whatever the umask is
    check_owner(folder)


def sweep(parent: Path) -> None:
    """Remove the partial folders of processes that were killed long ago."""
    for entry in os.scandir(parent):
        # Another pod may sweep at the same moment.
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            old = time.time() - status.st_mtime > STALE_S
            if entry.name.startswith(PARTIAL) and old and stat.S_ISDIR(status.st_mode):
                shutil.rmtree(entry.path, ignore_errors=True)


def _check_owner(folder: Path, owner: int, forbidden: int) -> None:
    try:
        status = folder.lstat()
    except OSError as error:
        raise UntrustedError(str(error)) from error
    if not stat.S_ISDIR(status.st_mode):
        message = f"{folder} is no folder"
    elif status.st_uid != owner:
        message = f"{folder} belongs to user {status.st_uid}, not to {owner}"
    elif status.st_mode & forbidden:
        message = f"others may write to {folder} (mode {stat.S_IMODE(status.st_mode):o})"
    else:
        return
    raise UntrustedError(message)


def _write(root: Path, member: Member, folder_mode: int, file_mask: int) -> None:
    """Write one file, with the permissions asked for, whatever the umask is."""
    parts = member.name.split("/")
    folder = root
    for part in parts[:-1]:
        folder /= part
        if not folder.is_dir():
            folder.mkdir(0o700)
            folder.chmod(folder_mode)
    opened = os.open(folder / parts[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "wb") as file:
        os.fchmod(file.fileno(), file_mask & (folder_mode if member.executable else folder_mode & ~0o111))
        file.write(member.data)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock if it is to be had: it spares the others the work, and nothing depends on it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_POLL_S)
            except OSError:
                break  # a volume without locks
            else:
                break
        yield
    finally:
        os.close(handle)
