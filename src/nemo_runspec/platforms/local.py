"""This machine as a platform: a process that outlives the one who started it, found again by its name.

Below HOME each job has a private folder: `lock` is held by the process for as long as it lives, so that no number of a
process that is long gone is ever taken for it, not after a reboot either; `process` has its number, and `folder` says
where the job's own folder is, in which the job leaves its log and its exit code.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import PlatformError, RefusedError, shell_status
from nemo_runspec.job_folder import CLIENT_LOG_FILE, EXIT_CODE_FILE, LOG_FILE, PID_FILE
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.small_files import read_file
from nemo_runspec.platforms.workload import JobState, Request, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

JOB_FOLDER: Final = "<job folder>"
"""Stands in a request for the job's own folder, which is another one each time the same job is started."""

KIND: Final = "process"
GRACE_S: Final = 30.0
"""How long a job may take to end after SIGTERM, in seconds, before SIGKILL."""

_KILLED_S: Final = 10.0
_POLL_S: Final = 0.1
_START_S: Final = 2.0
_LOCK, _PROCESS, _FOLDER, _CANCELLED = "lock", "process", "folder", "cancelled"
_DESCRIPTOR: Final = 9
_POD: Final = "job"
_CHUNK_BYTES: Final = 65536
_LONGEST_LINE_BYTES: Final = 1 << 20
_START: Final = '(umask 077; echo $$ >"$1/process.new") && mv "$1/process.new" "$1/process" && shift && exec "$@"'


def request(
    argv: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] = MappingProxyType({}),
    secrets: Mapping[str, str] = MappingProxyType({}),
    what: Mapping[str, Any] = MappingProxyType({}),
) -> Request:
    """Build the request of a process.

    Args:
        argv: Its command; `JOB_FOLDER` in a word stands for the job's folder.
        folder: The job's folder, which is there.
        env: Variables beside those of the one who starts it.
        secrets: The same with values that are secret.
        what: What else tells the job from another one, as plain data.
    """
    return Request(
        platform="local",
        kind=KIND,
        body={"argv": list(argv), "environment": dict(env), "job": dict(what)},
        names={JOB_FOLDER: str(folder)},
        secrets=tuple(secrets.items()),
    )


class LocalClient:
    """This machine, as a `nemo_runspec.platforms.workload.Platform`.

    Args:
        home: Where the folders of jobs are kept; made when the first job is started.
    """

    def __init__(self, home: Path) -> None:
        """Start nothing yet."""
        self._home = home

    def submit(self, request: Request, name: str) -> Submitted:
        """Start the process in a session of its own; see `Platform.submit`."""
        place = self._home / name
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        with _lock(place) as descriptor:
            if descriptor is not None and not (place / _PROCESS).exists():
                folder = request.names[JOB_FOLDER]
                _write(place / _FOLDER, folder)
                _start(request, place, Path(folder), descriptor)
        return self._found(place, name)

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a process up by its name; see `Platform.find`."""
        place = self._home / name
        return self._found(place, name, kind) if (place / _PROCESS).exists() or _is_held(place) else None

    def look(self, workload: Submitted) -> Seen:
        """Tell how the process stands; see `Platform.look`."""
        place = self._home / workload.name
        if not (place / _FOLDER).exists():
            return Seen(JobState.LOST)
        folder, cancelled = Path(_read(place / _FOLDER)), (place / _CANCELLED).exists()
        ended = _ended(folder, cancelled=cancelled)
        if ended is None and (_is_held(place) or _job_process(folder) is not None):
            if cancelled:
                return Seen(JobState.STOPPING)
            return Seen(JobState.RUNNING if (folder / PID_FILE).exists() else JobState.STARTING)
        # It may have ended between the two looks.
        ended = ended or _ended(folder, cancelled=cancelled)
        if ended is None and cancelled:
            return Seen(JobState.CANCELLED)
        return ended or Seen(JobState.LOST, "it ended without leaving an exit code")

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """Give the one thing that there is, where it has a log; see `Platform.pods`."""
        return (_POD,) if self._log_file(workload) is not None else ()

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give the log as it grows; see `Platform.log`."""
        del pod  # there is only one
        rest, offset, path = b"", 0, None
        over = False
        while True:
            current = self._log_file(workload, ended=over)
            if current is not None and current != path:
                path, offset, rest = current, 0, b""
            new = _new_bytes(path, offset) if path is not None else b""
            offset += len(new)
            *lines, rest = (rest + new).split(b"\n")
            yield from map(_text, lines)
            if len(rest) > _LONGEST_LINE_BYTES or (over and not new and rest):
                yield _text(rest)
                rest = b""
            if over and not new:
                return
            if not new:
                over = self.look(workload).state.is_final
                if not over:
                    time.sleep(_POLL_S)

    def cancel(self, workload: Submitted) -> None:
        """Ask the process to end, and end it where it does not."""
        if self.look(workload).state.is_final:
            return
        place = self._home / workload.name
        _write(place / _CANCELLED, "")
        for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, _KILLED_S)):
            self._signal(place, number)
            end = time.monotonic() + patience_s
            while time.monotonic() < end:
                if self.look(workload).state.is_final:
                    return
                time.sleep(_POLL_S)
        message = f"'{workload.name}' does not end"
        raise PlatformError(message, remedy=f"Its process is {_read(place / _PROCESS) or 'not known'}.")

    def read(self, workload: Submitted, name: str) -> bytes | None:
        """Give a small file of the job's own folder; see `Platform.read`."""
        folder = _read(self._home / workload.name / _FOLDER)
        return read_file(Path(folder, name)) if folder else None

    def remove(self, workload: Submitted) -> None:
        """Remove what finds the process again; the job's own folder has its results, and stays."""
        place = self._home / workload.name
        remove_ended(workload.name, self.look(workload), lambda: shutil.rmtree(place, ignore_errors=True))

    def _signal(self, place: Path, number: int) -> None:
        """Signal the client, which passes it on to the job; or the job's own group, where the client is gone."""
        client, job = _read(place / _PROCESS), _job_process(Path(_read(place / _FOLDER)))
        groups = [int(client)] if client.isdecimal() and _is_held(place) else []
        if job is not None and (number == signal.SIGKILL or not groups):
            groups.append(job)
        for group in groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                continue

    def _found(self, place: Path, name: str, kind: str = KIND) -> Submitted:
        end = time.monotonic() + _START_S
        while not (place / _PROCESS).exists() and _is_held(place) and time.monotonic() < end:
            time.sleep(_POLL_S / 5)
        return Submitted("local", kind, _read(place / _PROCESS) or name, name)

    def _log_file(self, workload: Submitted, *, ended: bool = True) -> Path | None:
        """Give the job's log; that of the client where the job has never begun."""
        folder = _read(self._home / workload.name / _FOLDER)
        names = (LOG_FILE, CLIENT_LOG_FILE) if ended else (LOG_FILE,)
        paths = [Path(folder) / name for name in names] if folder else []
        return next((path for path in paths if path.exists()), None)


def _start(request: Request, place: Path, folder: Path, descriptor: int) -> None:
    body = request.filled({JOB_FOLDER: str(folder)})
    argv = ["sh", "-c", _START, "sh", str(place), *body["argv"]]
    env = {**os.environ, **body["environment"], **dict(request.secrets)}
    try:
        # Not subprocess: it takes a child that is still running at our end for a mistake.
        os.posix_spawn(
            "/bin/sh",
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder / CLIENT_LOG_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, descriptor, _DESCRIPTOR),
            ],
            setsid=True,
        )
    except OSError as error:
        message = f"the job's process cannot be started: {error.strerror}"
        raise RefusedError(message) from error


@contextmanager
def _lock(place: Path) -> Iterator[int | None]:
    """Hold a job's lock; None where its process, or another client that is starting it, has it."""
    descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + _START_S
        while not _locked(descriptor, fcntl.LOCK_EX):
            # One who only looks has it for a moment; the process itself has said so by now.
            if (place / _PROCESS).exists() or time.monotonic() >= end:
                yield None
                return
            time.sleep(_POLL_S / 5)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_held(place: Path) -> bool:
    try:
        descriptor = os.open(place / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ended(folder: Path, *, cancelled: bool) -> Seen | None:
    text = _read(folder / EXIT_CODE_FILE)
    if not text.lstrip("-").isdecimal():
        return None
    code = shell_status(int(text))
    if code == 0:
        return Seen(JobState.SUCCEEDED, exit_code=0)
    return Seen(JobState.CANCELLED if cancelled else JobState.FAILED, exit_code=code)


def _job_process(folder: Path) -> int | None:
    """Give the leader of the job's own group, where it is one: a number may have become another process's."""
    text = _read(folder / PID_FILE)
    try:
        command = Path(f"/proc/{int(text)}/cmdline").read_bytes() if text.isdecimal() else b""
    except OSError:
        return None
    return int(text) if os.fsencode(folder) in command.split(b"\0") else None


def _new_bytes(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_CHUNK_BYTES)
    except FileNotFoundError:
        return b""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
