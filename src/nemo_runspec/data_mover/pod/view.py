"""How the command sees its job: the source in the working folder, and `/nemo_run` also where no link can be made."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import unpack
from .variables import CODE_FOLDER, EXIT_FOLDER, LOG_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIVATE_MODE = 0o700
PLAIN = re.compile(r"/[\w./+-]*", re.ASCII)
"""A path that means itself wherever it is put into a text: in a shell, in a list of paths, in YAML."""

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - only for folders that mkdtemp makes


class View:
    """Where the command finds the job's folder.

    Through a link. Where none can be made, paths that lead to it are rewritten in the command, in its variables and in
    copies of the job's own files that only this pod has: another pod of the job may have the link. Files below `code`
    are not rewritten, as they are mostly read by relative paths.
    """

    def __init__(self, link: Path, job_dir: Path, files: Sequence[unpack.Member]) -> None:
        """Make the link, or what stands in for it.

        Args:
            link: Its path.
            job_dir: The job's folder.
            files: The job's own files, which are in the folder.

        Raises:
            PodError: There is no place for what stands in for it.
        """
        self.folder = link
        self._private: Path | None = None
        self._path = None
        self._copied: set[str] = set()
        if _linked(link, job_dir):
            return
        entries = sorted({member.name.split("/")[0] for member in files} | {CODE_FOLDER, LOG_FOLDER, EXIT_FOLDER})
        known = "/({})(?![\\w.-])".format("|".join(map(re.escape, entries)))
        # Where something else stands in the link's place, only what is known to be the job's is meant.
        rest = "" if os.path.lexists(link) else "|(?![\\w.-])"
        self._path = re.compile(r"(?<![\w./~-])" + re.escape(str(link)) + "(?=" + known + rest + ")")
        texts = {member: text for member in files for text in [_text(member)] if text and self._path.search(text)}
        self._copied = {member.name.split("/")[0] for member in texts} - {CODE_FOLDER}
        self.folder = job_dir
        if self._copied or not PLAIN.fullmatch(str(job_dir)):
            self._private = _private_folder(job_dir)
        if self._private and not PLAIN.fullmatch(str(job_dir)):
            self.folder = self._private / "job"
            self.folder.symlink_to(job_dir)
        if self._private and self._copied:
            copies = [
                member._replace(data=self.rewritten(texts[member]).encode("utf-8")) if member in texts else member
                for member in files
                if member.name.split("/")[0] in self._copied
            ]
            unpack.stage(copies, self._private / "own", PRIVATE_MODE)

    def rewritten(self, text: str) -> str:
        """Give a text with the paths that lead to the job's folder."""
        return self._path.sub(self._place, text) if self._path else text

    def _place(self, found: re.Match[str]) -> str:
        return str(self._private / "own" if self._private and found[1] in self._copied else self.folder)

    def close(self) -> None:
        """Remove the copies."""
        if self._private:
            shutil.rmtree(self._private, ignore_errors=True)


def show(files: Sequence[unpack.Member], source: Path, target: Path, script: str, ours: Sequence[str]) -> None:
    """Show files in a folder: folders of its own, so that what is made there stays there, and a link for each file.

    What the job brings itself stays. Other pods may be doing the same. The script is a copy: Python looks for its
    neighbours where a link leads.

    Args:
        files: What to show.
        source: Where they are.
        target: The folder.
        script: Name of the one that is copied.
        ours: Folders to which links of an earlier start may lead; such links are made anew.
    """
    usable = {target: True}

    def is_usable(folder: Path) -> bool:
        if folder not in usable:
            usable[folder] = is_usable(folder.parent) and _made(folder)
        return usable[folder]

    for member in files:
        place = target / member.name
        if is_usable(place.parent):
            if member.name != script:
                _link(place, source / member.name, tuple(folder + "/" for folder in ours))
            elif not os.path.lexists(place):
                _copy(member, place)


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return folder.is_dir() and not folder.is_symlink()
    return True


def _link(place: Path, origin: Path, ours: tuple[str, ...]) -> None:
    try:
        place.symlink_to(origin)
    except FileExistsError:
        if not place.is_symlink():
            return
        leads = os.readlink(place)  # noqa: PTH115 - Path.readlink came with Python 3.9
        if leads != str(origin) and leads.startswith(ours):
            fresh = place.with_name(unpack.PARTIAL + os.urandom(8).hex())
            fresh.symlink_to(origin)
            fresh.replace(place)


def _copy(member: unpack.Member, place: Path) -> None:
    handle, partial = tempfile.mkstemp(prefix=unpack.PARTIAL, dir=place.parent)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o755 if member.executable else 0o644)
        file.write(member.data)
    Path(partial).replace(place)


def _linked(link: Path, target: Path) -> bool:
    """Make a link, and tell whether it leads to the target."""
    try:
        if link.is_dir() and not link.is_symlink():
            link.rmdir()  # an image may bring it, empty
        link.symlink_to(target)
    except OSError:
        # A container that is started again finds its own link.
        return os.path.realpath(link) == os.path.realpath(target)
    return True


def _text(member: unpack.Member) -> str:
    try:
        return member.data.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _private_folder(job_dir: Path) -> Path:
    """Make a folder that only this pod uses, with a path that means itself in any text."""
    for parent in (os.environ.get("TMPDIR", ""), *TEMPORARY, str(job_dir)):
        if PLAIN.fullmatch(parent):
            try:
                return Path(tempfile.mkdtemp(prefix="nemo_run.", dir=parent))
            except OSError:
                continue
    message = f"neither a link to {job_dir} nor a temporary folder can be made: mount a volume on /tmp"
    raise unpack.PodError(message)
