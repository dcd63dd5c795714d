"""The pod's first process: puts the job's files in place, finds its own place among the nodes, runs the command."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import process, rendezvous, unpack
from .variables import (
    BOOT_VARIABLE,
    CODE_FOLDER,
    EXIT_FOLDER,
    EXIT_MARKER,
    JOB_DIR_VARIABLE,
    JOB_PREFIX,
    LOG_FOLDER,
    SOURCE_PREFIX,
    is_transport_variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAILED = 1
SHARED_MODE = 0o755
PRIVATE_MODE = 0o700
OWN_SOURCE = ".source"
"""Where the source lies in the job's folder when the place that jobs share cannot be used."""

EXPECTED = (unpack.PodError, unpack.UntrustedError, rendezvous.RendezvousError, OSError)
"""What can go wrong before the command starts."""


def main(command: Sequence[str]) -> int:
    """Run a job in this pod.

    Args:
        command: Program and arguments; paths in it begin with the link to the job's folder.

    Returns:
        The command's exit code; 1 where it could not be started.
    """
    host = (os.environ.get("HOSTNAME") or socket.gethostname()).replace("/", "_")
    signals = process.Signals()
    with signals.caught():  # one that arrives while the job's files are put in place reaches the command at its start
        return _run(command, host, signals)


def _run(command: Sequence[str], host: str, signals: process.Signals) -> int:
    output = process.Output()
    job_dir = None
    try:
        boot = json.loads(os.environ.get(BOOT_VARIABLE) or "null")
        if boot is None:
            message = f"{unpack.MISMATCH}: there is no {BOOT_VARIABLE}"
            raise unpack.PodError(message)
        source, files = _payloads(os.environ, boot)
        found = rendezvous.place(os.environ, boot["nodes"], host)
        if found.rank >= boot["nodes"]:
            output.say(f"{EXIT_MARKER} {host} is not needed: the job has {boot['nodes']} nodes, and this is one more")
            return _leave(host, 0, output, None)
        job_dir, seen = _job_folder(boot, files)
        _link_source(boot, source, job_dir, output)
        environ = _environment(os.environ, found.variables, job_dir, seen)
        logs = job_dir / LOG_FOLDER
        logs.mkdir(exist_ok=True)
        output = process.Output(logs / (host + ".log"))
    except EXPECTED as error:
        output.say(f"{EXIT_MARKER} {host}: {error}")
        return _leave(host, FAILED, output, job_dir)
    words = [seen.rewritten(word) for word in command]
    code = process.run(words, environ, seen.folder / CODE_FOLDER, output, signals)
    return _leave(host, code, output, job_dir)


class Seen:
    """How the command sees the job's folder: through a link, or, where none can be made, by its own path."""

    def __init__(self, link: Path, job_dir: Path, entries: Sequence[str]) -> None:
        """Make the link.

        Args:
            link: Its path.
            job_dir: The job's folder.
            entries: What is in the folder.
        """
        self.folder = link if _linked(link, job_dir) else job_dir
        self._job_dir = job_dir
        # Something else stands where the link should: only what is known to be the job's is meant then.
        known = (
            "/(?:{})(?![\\w.-])".format("|".join(map(re.escape, entries))) if os.path.lexists(link) else "(?![\\w.-])"
        )
        self._path = (
            None if self.folder == link else re.compile(r"(?<![\w./~-])" + re.escape(str(link)) + f"(?={known})")
        )

    def rewritten(self, text: str) -> str:
        """Give a text with the paths that lead to the job's folder."""
        return self._path.sub(lambda _found: str(self._job_dir), text) if self._path else text

    def member(self, member: unpack.Member) -> unpack.Member:
        """Give a file with the paths that lead to the job's folder; one that is no text stays as it is."""
        if self._path is None:
            return member
        try:
            return member._replace(data=self.rewritten(member.data.decode("utf-8")).encode("utf-8"))
        except UnicodeDecodeError:
            return member


def _payloads(environ: Mapping[str, str], boot: Mapping[str, Any]) -> tuple[list[unpack.Member], list[unpack.Member]]:
    """Verify both archives before anything is written, and give the files of the source and of the job."""
    read = []
    for kind, prefix in (("source", SOURCE_PREFIX), ("job", JOB_PREFIX)):
        part = boot[kind]
        read.append(unpack.payload(environ, prefix, part["pieces"], part["sha256"]) if part else None)
    source, job = (unpack.members(archive) if archive is not None else [] for archive in read)
    return source, job


def _job_folder(boot: Mapping[str, Any], files: Sequence[unpack.Member]) -> tuple[Path, Seen]:
    """Put the job's own files in place."""
    job_dir = Path(boot["job_dir"])
    job_dir.parent.mkdir(parents=True, exist_ok=True)
    entries = {member.name.split("/")[0] for member in files} | {CODE_FOLDER, LOG_FOLDER, EXIT_FOLDER}
    seen = Seen(Path(boot["link"]), job_dir, sorted(entries))
    unpack.stage([seen.member(member) for member in files], job_dir, PRIVATE_MODE)
    unpack.check_job_folder(job_dir)
    return job_dir, seen


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


def _link_source(
    boot: Mapping[str, Any], files: Sequence[unpack.Member], job_dir: Path, output: process.Output
) -> None:
    """Make the source visible in the job's working folder."""
    code = job_dir / CODE_FOLDER
    code.mkdir(exist_ok=True)
    if boot["source"]:
        _link_entries(_source_tree(boot, files, job_dir, output), code)


def _source_tree(
    boot: Mapping[str, Any], files: Sequence[unpack.Member], job_dir: Path, output: process.Output
) -> Path:
    """Give the folder with the source: the one that all jobs share where it can be trusted, or else the job's own."""
    shared = Path(boot["trees"], boot["source"]["name"])
    try:
        unpack.make_private(shared.parent)
        unpack.stage(files, shared, SHARED_MODE)
        unpack.check_owner(shared)
        unpack.check_content(files, shared)
    except (unpack.UntrustedError, OSError) as error:
        own = job_dir / OWN_SOURCE
        output.say(f"{EXIT_MARKER} {shared} is not used: {error}; the source goes to {own}")
        unpack.stage(files, own, SHARED_MODE)
        unpack.check_content(files, own)
        return own
    return shared


def _link_entries(source: Path, target: Path) -> None:
    """Link what a folder holds into another one; where both have a folder, what that one holds.

    What the job brings itself stays. Other pods may be doing the same.
    """
    for origin in source.iterdir():
        place = target / origin.name
        if place.is_dir() and not place.is_symlink() and origin.is_dir():
            _link_entries(origin, place)
        elif not os.path.lexists(place):
            try:
                place.symlink_to(origin)
            except FileExistsError:
                continue


def _environment(
    environ: Mapping[str, str], added: Mapping[str, str | None], job_dir: Path, seen: Seen
) -> dict[str, str]:
    """Give the command's environment: without what carried the job, with this pod's place."""
    kept = {name: seen.rewritten(value) for name, value in environ.items() if not is_transport_variable(name)}
    for name, value in added.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = value
    first = str(seen.folder / CODE_FOLDER / "src")
    others = [path for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path and path != first]
    kept["PYTHONPATH"] = os.pathsep.join([first, *others])
    kept[JOB_DIR_VARIABLE] = os.path.realpath(job_dir)
    return kept


def _leave(host: str, code: int, output: process.Output, job_dir: Path | None) -> int:
    """Say the exit code, on the last line and in the job's folder, and give it."""
    output.say(f"{EXIT_MARKER} {host} exit code {code}")
    if job_dir is not None:
        folder = job_dir / EXIT_FOLDER
        try:
            folder.mkdir(exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=unpack.PARTIAL, dir=folder)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{code}\n")
            Path(partial).replace(folder / host)
        except OSError as error:
            # The platform has the exit code as well.
            process.Output().say(f"{EXIT_MARKER} {host}: the exit code is not kept: {error}")
    return code
