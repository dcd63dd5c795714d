"""The pod's first process: puts the job's files in place, finds its own place among the nodes, runs the command."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import process, rendezvous, unpack, view
from .variables import (
    BOOT_VARIABLE,
    CODE_FOLDER,
    EXIT_FOLDER,
    EXIT_MARKER,
    JOB_DIR_VARIABLE,
    JOB_PREFIX,
    LOG_FOLDER,
    OWN_SOURCE,
    SOURCE_PREFIX,
    is_transport_variable,
    orders_digest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAILED = 1

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
        boot = _orders(os.environ)
        source, files = _payloads(os.environ, boot)
        found = rendezvous.place(os.environ, boot["nodes"], host)
        if found.rank >= boot["nodes"]:
            output.say(f"{EXIT_MARKER} {host} is not needed: the job has {boot['nodes']} nodes, and this is one more")
            return _leave(host, 0, output, None)
        job_dir = _job_folder(boot, files)
        _show_source(boot, source, job_dir, output)
        logs = job_dir / LOG_FOLDER
        logs.mkdir(exist_ok=True)
        output = process.Output(logs / (host + ".log"))
        seen = view.View(Path(boot["link"]), job_dir, files)
    except EXPECTED as error:
        output.say(f"{EXIT_MARKER} {host}: {error}")
        return _leave(host, FAILED, output, job_dir)
    try:
        environ = _environment(os.environ, found.variables, job_dir, seen)
        words = [seen.rewritten(word) for word in command]
        code = process.run(words, environ, seen.folder / CODE_FOLDER, output, signals)
    finally:
        seen.close()
    return _leave(host, code, output, job_dir)


def _orders(environ: Mapping[str, str]) -> dict[str, Any]:
    """Give what this pod is to do.

    Raises:
        PodError: It is not what was sent.
    """
    try:
        orders = json.loads(environ[BOOT_VARIABLE])
        check = orders.pop("check")
        found = orders_digest(orders)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        check, found = "", None
    if found != check:
        message = f"{unpack.MISMATCH}: {BOOT_VARIABLE}"
        raise unpack.PodError(message)
    return dict(orders)


def _payloads(environ: Mapping[str, str], boot: Mapping[str, Any]) -> tuple[list[unpack.Member], list[unpack.Member]]:
    """Verify both archives before anything is written, and give the files of the source and of the job."""
    read = []
    for kind, prefix in (("source", SOURCE_PREFIX), ("job", JOB_PREFIX)):
        part = boot[kind]
        read.append(unpack.payload(environ, prefix, part["chunks"], part["sha256"], part["bytes"]) if part else None)
    source, job = (unpack.members(archive) if archive is not None else [] for archive in read)
    return source, job


def _job_folder(boot: Mapping[str, Any], files: Sequence[unpack.Member]) -> Path:
    """Put the job's own files in place, as they were sent: other pods of the job may see them by other paths."""
    job_dir = Path(boot["job_dir"])
    job_dir.parent.mkdir(parents=True, exist_ok=True)
    unpack.stage(files, job_dir, view.PRIVATE_MODE)
    unpack.check_job_folder(job_dir)
    return job_dir


def _show_source(
    boot: Mapping[str, Any], files: Sequence[unpack.Member], job_dir: Path, output: process.Output
) -> None:
    """Make the source visible in the job's working folder."""
    code = job_dir / CODE_FOLDER
    code.mkdir(exist_ok=True)
    if boot["source"]:
        source = _source_tree(boot, files, job_dir, output)
        view.show(files, source, code, boot["script"], (boot["trees"], str(job_dir / OWN_SOURCE)))


def _source_tree(
    boot: Mapping[str, Any], files: Sequence[unpack.Member], job_dir: Path, output: process.Output
) -> Path:
    """Give the folder with the source: one that all jobs share where it can be trusted, or else the job's own."""
    trees = Path(boot["trees"])
    try:
        unpack.make_private(trees)
        folder, refused = unpack.shared_tree(files, trees, boot["source"]["name"])
    except (unpack.UntrustedError, OSError) as error:
        own = job_dir / OWN_SOURCE
        output.say(f"{EXIT_MARKER} {trees} is not used: {error}; the source goes to {own}")
        unpack.stage(files, own, unpack.READABLE)
        unpack.check_content(files, own)
        return own
    for reason in refused:
        output.say(f"{EXIT_MARKER} {reason}")
    return folder


def _environment(
    environ: Mapping[str, str], added: Mapping[str, str | None], job_dir: Path, seen: view.View
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
    # Compiled files must not get into what jobs share. With a prefix for them, those of the image would count no more.
    if "PYTHONPYCACHEPREFIX" not in kept:
        kept.setdefault("PYTHONDONTWRITEBYTECODE", "1")
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
