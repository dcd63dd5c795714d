"""Submitting a job to Slurm, once: whatever happens to the connection, to this process or to Slurm's replies."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from nemo_runspec.errors import NothingSentError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import AbandonedError, ended_when_abandoned, refuse_if_abandoned
from nemo_runspec.platforms.contents import SECRETS_FILE, export_lines, filled, is_below
from nemo_runspec.platforms.http import Patience, Repetition, TransientError
from nemo_runspec.platforms.slurm.request import KIND, PLATFORM
from nemo_runspec.platforms.slurm.sources import digests, turn, unpack
from nemo_runspec.platforms.workload import Submitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.platforms.shell import Answer, Shell
    from nemo_runspec.platforms.workload import Request, Tree

DEADLINE_S: Final = 60.0
"""How long what fails is tried again, each step of a submission for itself."""

_REMOTE: Final = Path(__file__).with_name("remote")
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID: Final = re.compile(r"[0-9]+")

_LOOK_S: Final = 120.0
"""Longest that `find.sh` takes: 45 s for the folder's lock, and looks until the queue has been calm for 15 s."""
_SUBMIT_S: Final = 240.0
_TRANSFER_S: Final = 1800.0
_TRIES: Final = 3
"""How often a source tree is sent that is then not whole there."""

_REFUSED, _NO_SOURCE, _NO_SLURM, _CANNOT_WRITE, _UNKNOWN, _UNSAFE = 65, 66, 69, 73, 75, 77
_WORDS: Final = re.compile(r"^(sbatch|srun|squeue): (error: )?")
_LONGEST_REASON: Final = 400

Result = TypeVar("Result")


class _SourceGoneError(Exception):
    """The source tree is not there, or not whole: something there removes old files."""


def submit(
    shell: Shell, home: str, sources: Path, request: Request, name: str, *, patience: Patience | None = None
) -> Submitted:
    """Submit a job under a name that nobody else uses; called again with that name, it gives the job that is there.

    Args:
        shell: The cluster.
        home: The folder of all jobs there, from the root.
        sources: A folder here for trees that are being sent.
        request: The job.
        name: Its unique name.
        patience: How long to wait; its `deadline_s` is for each step that fails.

    Raises:
        RefusedError: Slurm does not take it, or nothing can be written there; there is no job.
        DeniedError: The cluster does not let us in; there is no job.
        AbandonedError: The submission was given up, and there is no job.
        NothingSentError: The cluster does not answer, and there is no job.
        UnreachableError: The cluster does not answer; there may be a job.
    """
    return _Submission(shell, home, sources, request, name, patience or Patience(deadline_s=DEADLINE_S)).run()


def find(shell: Shell, home: str, name: str) -> Submitted | None:
    """Look a job up by its unique name, and remove what is left of a submission of which no job has come.

    Args:
        shell: The cluster.
        home: The folder of all jobs there.
        name: The job's unique name.

    Returns:
        The job, or None where Slurm says that there is none.

    Raises:
        UnreachableError: Nobody could say.
        DeniedError: The cluster does not let us in.
        RefusedError: There is no Slurm.
    """
    _check_name(name)
    answer = shell.bash(_REMOTE / "find.sh", home, name, timeout_s=_LOOK_S)
    if answer.code == 0 and not answer.text.strip():
        return None
    return _submitted(_checked(answer, shell, home), name, shell)


class _Submission:
    """One submission: what is known of it so far."""

    def __init__(self, shell: Shell, home: str, sources: Path, request: Request, name: str, patience: Patience) -> None:
        _check_name(name)
        if not home.startswith("/") or any(_ID.fullmatch(job) is None for job in request.after):
            message = f"'{home}' is no path from the root, or one of {request.after} is no number of a job"
            raise ValueError(message)
        self._shell = shell
        self._home = home
        self._sources = sources
        self._request = request
        self._name = name
        self._patience = patience
        self._files = job_archive(request, name)
        self._sent = False  # may Slurm have heard of it?

    def run(self) -> Submitted:
        try:
            return self._run()
        except UnreachableError as error:
            if self._sent:
                raise
            raise NothingSentError(error.message, remedy=error.remedy) from error

    def _run(self) -> Submitted:
        refuse_if_abandoned()
        has_source, basis = self._prepare()  # not repeated: who never gets through learns at once why
        for _ in range(_TRIES):
            if self._request.source is not None and not has_source:
                self._send_source(self._request.source, basis)
            try:
                return self._submit()
            except _SourceGoneError:
                has_source, basis = self._repeated(self._prepare)
        message = f"the source tree in {self._home}/sources on {self._shell.label} does not stay whole"
        raise RefusedError(message, remedy="Use a folder whose file system removes no files.")

    def _repeated(self, step: Callable[[], Result]) -> Result:
        """Do a step, again and again until the deadline, as long as the cluster cannot be reached."""
        repetition = Repetition(self._patience, self._patience.deadline_s)
        while True:
            try:
                return step()
            except UnreachableError as error:
                repetition.wait(TransientError(error.message, remedy=None))

    @ended_when_abandoned()
    def _prepare(self) -> tuple[bool, str | None]:
        """Make the folder of all jobs, and say whether the source is there, and which one resembles it."""
        sha256 = self._request.source.sha256 if self._request.source is not None else ""
        answer = self._shell.bash(_REMOTE / "prepare.sh", self._home, sha256)
        told = dict(
            line.split(" ", 1) for line in _checked(answer, self._shell, self._home).splitlines() if " " in line
        )
        has_source = told.get("source") == "yes"
        needed = len(self._files)
        if self._request.source is not None:
            needed += len(self._request.source.tar) * (1 if has_source else 2)
        # Some file systems do not tell.
        size, left = (told.get(word, "") for word in ("size", "free"))
        free = int(left) if left.isdecimal() and size not in {"", "0", "-"} else needed
        if free < needed:
            message = f"No space left in {self._home} on {self._shell.label}: {needed:,} bytes needed, {free:,} free"
            raise RefusedError(message, remedy="Make room there, then submit again.")
        return has_source, told.get("basis")

    def _send_source(self, tree: Tree, basis: str | None) -> None:
        """Send a source tree; others on this machine that want to send the same one wait, and find it sent."""
        folder = self._home.rstrip("/") + "/sources"
        wholes, count = digests(tree)
        with turn(tree.sha256, self._sources, _TRANSFER_S):
            for _ in range(_TRIES):
                if self._repeated(self._prepare)[0]:
                    return
                unpacked = unpack(tree, self._sources)
                self._repeated(
                    partial(
                        self._shell.send_tree,
                        unpacked,
                        f"{folder}/.{tree.sha256}.part",
                        basis=f"{folder}/{basis}" if basis else None,
                        timeout_s=_TRANSFER_S,
                    )
                )
                refuse_if_abandoned()
                shutil.rmtree(unpacked, ignore_errors=True)  # there from now on; if not whole, perhaps for its fault
                if self._repeated(lambda: self._adopt_source(tree, wholes, count)):
                    return
        message = f"the source tree does not arrive whole in {folder} on {self._shell.label}"
        raise RefusedError(message, remedy="Check that file system, and this machine's.")

    @ended_when_abandoned()
    def _adopt_source(self, tree: Tree, wholes: bytes, count: int) -> bool:
        """Have a tree that was sent verified, and tell whether it is whole."""
        answer = self._shell.bash(
            _REMOTE / "source.sh", self._home, tree.sha256, str(count), stdin=wholes, timeout_s=_LOOK_S
        )
        if answer.code == _NO_SOURCE:
            return False
        _checked(answer, self._shell, self._home)
        return True

    def _submit(self) -> Submitted:
        """Have it submitted; from the first try on, only a clear no says that there is no job."""
        try:
            return self._repeated(self._submit_once)
        except AbandonedError as error:
            if not self._sent:
                raise
            return self._given_up(error)
        except UnreachableError as error:
            if not self._sent:
                raise
            raise _unknown(error, self._name, self._shell) from error

    def _submit_once(self) -> Submitted:
        refuse_if_abandoned()
        source = self._request.source.sha256 if self._request.source is not None else ""
        digest = hashlib.sha256(self._files).hexdigest()
        was_sent, self._sent = self._sent, True
        try:
            answer = self._shell.bash(
                _REMOTE / "submit.sh",
                self._home,
                self._name,
                source,
                digest,
                *self._request.after,
                stdin=self._files,
                timeout_s=_SUBMIT_S,
            )
        except PlatformError as error:
            if isinstance(error, UnreachableError) or not was_sent:
                self._sent = was_sent or isinstance(error, UnreachableError)
                raise
            raise UnreachableError(error.message, remedy=error.remedy) from error
        if answer.code in {_REFUSED, _NO_SOURCE, _CANNOT_WRITE}:
            self._sent = False  # the script has looked, and there is no job
        if answer.code == _NO_SOURCE:
            raise _SourceGoneError
        return _submitted(_checked(answer, self._shell, self._home), self._name, self._shell)

    def _given_up(self, error: AbandonedError) -> Submitted:
        """Look once more for what may have been made, so that it can be ended."""
        try:
            found = find(self._shell, self._home, self._name)
        except PlatformError as failure:
            raise _unknown(failure, self._name, self._shell) from failure
        if found is None:
            raise error
        return found


def job_archive(request: Request, name: str) -> bytes:
    """Give the files of a job's folder as a tar archive, the same for the same job.

    Args:
        request: The job; `NAME` in its texts is filled in.
        name: Its unique name.

    Raises:
        ValueError: A path leads out of the folder, or a secret has no name that a shell takes.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for path, (content, executable) in sorted(request.files.items()):
            _add(tar, path, filled(content, name), executable=executable)
        if request.secrets:
            _add(tar, SECRETS_FILE, _secrets(request.secrets), executable=False)
    return archive.getvalue()


def _add(tar: tarfile.TarFile, path: str, content: bytes, *, executable: bool) -> None:
    if not is_below(path):
        message = f"'{path}' is no file of a job's folder"
        raise ValueError(message)
    member = tarfile.TarInfo(path)
    member.size = len(content)
    member.mode = 0o700 if executable else 0o600
    tar.addfile(member, io.BytesIO(content))


def _secrets(secrets: tuple[tuple[str, str], ...]) -> bytes:
    for variable, value in secrets:
        if not _VARIABLE.fullmatch(variable) or "\0" in value:
            message = f"'{variable}' or its value cannot be a variable of a shell"
            raise ValueError(message)
    return export_lines(secrets).encode()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        message = f"'{name}' is no unique name of a job"
        raise ValueError(message)


def _submitted(told: str, name: str, shell: Shell) -> Submitted:
    number = told.strip()
    if not _ID.fullmatch(number):
        message = f"{shell.label} gives '{number[:_LONGEST_REASON]}' instead of the number of a job"
        raise UnreachableError(message)
    return Submitted(PLATFORM, KIND, number, name)


def _checked(answer: Answer, shell: Shell, home: str) -> str:
    """Give what a script has printed, or raise what its exit code says."""
    if answer.code == 0:
        return answer.text
    reason = _reason(answer.err)
    if answer.code == _REFUSED:
        message = f"Slurm on {shell.label} does not take the job: {reason}"
        raise RefusedError(message, remedy="Change what it names in the profile or on the command line.")
    if answer.code == _NO_SLURM:
        message = f"there is no sbatch on {shell.label}"
        raise RefusedError(message, remedy="Name a login node of the cluster, where Slurm's programs are on PATH.")
    if answer.code == _CANNOT_WRITE:
        message = f"{home} on {shell.label} cannot be written: {reason}"
        raise RefusedError(message, remedy="Make room or get permission there, then submit again.")
    if answer.code == _UNSAFE:
        message = f"{home} on {shell.label} is not safe to use: {reason}"
        raise RefusedError(
            message, remedy="Nobody else may be able to write there: scripts and secrets will lie there."
        )
    message = f"{shell.label}: {reason}"
    raise UnreachableError(message)


def _reason(said: str) -> str:
    """Give the lines that matter of what programs have said, as one."""
    lines = [_WORDS.sub("", line).strip() for line in said.splitlines()]
    distinct = list(dict.fromkeys(line for line in lines if line))
    return "; ".join(distinct[-3:])[:_LONGEST_REASON] or "no reason given"


def _unknown(error: PlatformError, name: str, shell: Shell) -> UnreachableError:
    message = f"it is not known whether the job '{name}' was submitted: {error.message}"
    remedy = (
        f"Submit it again in the same way, which takes over a job that is there, or look with "
        f"`squeue --me --states=all --name={name}` on {shell.label}."
    )
    return UnreachableError(message, remedy=remedy)
