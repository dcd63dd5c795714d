"""The journal of submitted jobs: one private file a job, written before the job is sent.

A client that is killed while it submits leaves a record of what it was about to make, and no two jobs share a file,
so that jobs of one experiment, which are submitted in parallel, cannot lose each other's records.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.file_lock import held, holder, is_held
from nemo_runspec.platforms.workload import JobState, Seen, Submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemo_runspec.executors.follow import Ending

log = logging.getLogger(__name__)

_VERSION: Final = 2
_OLDER: Final = 1
"""A version that is still read: it has none of the fields from `fingerprint` on."""
_SEPARATOR: Final = "___"
_NAME: Final = re.compile(r"[a-z0-9-]+")
_LOCKS: Final = ".locks"
_SENDING: Final = ".sending"
_CHANGE_S: Final = 10.0
"""How long a change waits for another one, in seconds; each takes milliseconds."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a job; no secret is among it.

    Args:
        platform: `lepton`, `dgxcloud`, `slurm`, `docker` or `local`.
        kind: The platform's word for the workload.
        name: The workload's unique name, and the key that it is looked up by.
        id: The platform's identifier; empty while the platform has not answered.
        title: What the job is called.
        experiment: nemo-run's experiment, where there is one.
        job_dir: The job's folder on this machine, where there is one.
        pod_job_dir: The job's folder where it runs.
        digest: SHA-256 of the request's body.
        connection: How the platform is reached, with references in the place of secrets.
        created: When it was about to be sent, as ISO 8601 in UTC.
        fingerprint: What two submissions of the same job to the same place have in common; empty where a job is
            never taken for another submission's.
        profile: The profile of env.toml that it was sent with.
        told: Whether the user was told that it was accepted.
        nodes: How many nodes it asks for; 0 where that is not known.
        state: The last state that was seen, where it was final: a value of `JobState`.
        exit_code: The job's own exit code, where it is known.
        ended: When its end was first seen, as ISO 8601 in UTC.
    """

    platform: str
    kind: str
    name: str
    id: str = ""
    title: str = ""
    experiment: str = ""
    job_dir: str = ""
    pod_job_dir: str = ""
    digest: str = ""
    connection: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    created: str = field(default_factory=_now)
    fingerprint: str = ""
    profile: str = ""
    told: bool = False
    nodes: int = 0
    state: str = ""
    exit_code: int | None = None
    ended: str = ""

    @property
    def app_id(self) -> str:
        """The identifier for torchx: experiment and title for a person, and the name, by which it is found again."""
        parts = (re.sub(r"[^A-Za-z0-9_.-]+", "-", part) or "-" for part in (self.experiment, self.title))
        return _SEPARATOR.join((*parts, self.name))

    @property
    def submitted(self) -> Submitted:
        """The workload as a platform's client takes it."""
        return Submitted(self.platform, self.kind, self.id or self.name, self.name)

    @property
    def confirmed(self) -> bool:
        """Whether the platform has said that it has the job."""
        return bool(self.id)

    @property
    def last_state(self) -> JobState | None:
        """The final state that was seen, or None where none was."""
        return JobState(self.state) if self.state else None

    def accepted(self, submitted: Submitted) -> Self:
        """Give the entry with what the platform has answered."""
        return replace(self, kind=submitted.kind, id=submitted.id, name=submitted.name)


def name_in(app_id: str) -> str:
    """Give the workload's name in torchx' identifier, whatever the experiment and the title hold."""
    return app_id.rpartition(_SEPARATOR)[2]


def fingerprint_of(platform: str, place: Mapping[str, str], title: str, digest: str) -> str:
    """Give what two submissions of the same job to the same place have in common.

    Args:
        platform: The platform.
        place: Where on it, as `nemo_runspec.executors.connection.place_of` gives it.
        title: What the job is called.
        digest: The request's digest.
    """
    text = json.dumps([platform, sorted(place.items()), title, digest])
    return hashlib.sha256(text.encode()).hexdigest()


def nemo_run_home() -> Path:
    """Give nemo-run's home without importing nemo-run, which takes seconds: as it has it, or would."""
    loaded = sys.modules.get("nemo_run.config")
    if loaded is not None:
        return Path(loaded.get_nemorun_home())
    return Path(os.environ.get("NEMORUN_HOME") or Path.home() / ".nemo_run")


class Journal:
    """The entries below one home of nemo-run.

    Args:
        home: nemo-run's home folder; nothing is made before the first entry is written.
    """

    def __init__(self, home: str | Path) -> None:
        """Remember the folder."""
        self.folder = Path(home) / "nemo_runspec" / "jobs"

    @property
    def locks(self) -> Path:
        """The folder of the locks beside the entries; it is made, and nobody else may look into it."""
        folder = self.folder / _LOCKS
        self._make()
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @contextmanager
    def sending(self, name: str, *, deadline_s: float, sleep: Callable[[float], None]) -> Iterator[None]:
        """Have everybody know that a job is being sent, while the body runs.

        Args:
            name: The workload's unique name.
            deadline_s: How long to wait for another one that sends it, in seconds.
            sleep: Waits for so many seconds.

        Raises:
            UnreachableError: Another one sends it all the time.
        """
        with held(self.locks / f"{name}{_SENDING}", deadline_s=deadline_s, what=f"submitting {name}", sleep=sleep):
            yield

    def sender(self, entry: Entry) -> str:
        """Say who is sending a job at this moment, for messages; nothing where nobody is.

        Args:
            entry: Its record.
        """
        locks = (f"{entry.name}{_SENDING}", *((entry.fingerprint,) if entry.fingerprint else ()))
        paths = (self.folder / _LOCKS / name for name in locks)
        return next((holder(path) for path in paths if is_held(path)), "")

    def write(self, entry: Entry) -> None:
        """Keep an entry, in the place of an older one of the same job; a reader sees the old or the new one."""
        self._make()
        record = {"version": _VERSION, **asdict(replace(entry, connection=dict(entry.connection)))}
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(record, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path(entry.name))
        except BaseException:  # whatever it is goes on; only the half of a record does not stay
            Path(temporary).unlink(missing_ok=True)
            raise
        self._sync()

    def change(self, name: str, **changes: Any) -> Entry | None:  # noqa: ANN401 - the values of an entry's fields
        """Change some fields of an entry, and keep what others write to it meanwhile.

        Args:
            name: The workload's unique name.
            **changes: Field -> its new value.

        Returns:
            The entry as it is then; None where there is none, or no longer.

        Raises:
            NemotronError: It cannot be read.
        """
        # One lock for all entries: it is held for milliseconds.
        with held(self.locks / "changes", deadline_s=_CHANGE_S, what=f"changing {self.folder}"):
            entry = self.find(name)
            if entry is None:
                return None
            changed = replace(entry, **changes)
            if changed != entry:
                self.write(changed)
            return changed

    def saw(self, name: str, seen: Seen) -> Entry | None:
        """Remember how a job has ended, because its platform may forget it; any other state ends that memory.

        What only says that nothing is known (LOST, UNKNOWN, UNREACHABLE) changes nothing.

        Args:
            name: The workload's unique name.
            seen: How it stands.
        """
        if seen.state in {JobState.LOST, JobState.UNKNOWN, JobState.UNREACHABLE}:
            return self.find(name)
        if not seen.state.is_final:
            return self.change(name, state="", exit_code=None, ended="")
        entry = self.find(name)
        # An exit code is also learned from a job's own output, and a platform that tells none does not take it back.
        known = entry.exit_code if entry and entry.last_state is seen.state else None
        ended = entry.ended if entry and entry.ended else _now()
        code = known if seen.exit_code is None else seen.exit_code
        return self.change(name, state=seen.state.value, exit_code=code, ended=ended)

    def saw_end(self, name: str, ending: Ending) -> Entry | None:
        """Remember how a job ended that was followed, with the exit code that only its output has told.

        Args:
            name: The workload's unique name.
            ending: How it ended.
        """
        seen = ending.seen
        if seen.exit_code is None and seen.state is JobState.FAILED and ending.failure is not None:
            seen = replace(seen, exit_code=ending.failure[1])
        return self.saw(name, seen)

    def read(self, name: str) -> Entry:
        """Give a job's entry.

        Args:
            name: The workload's unique name.

        Raises:
            NemotronError: There is none, or it cannot be read.
        """
        entry = self.find(name)
        if entry is None:
            message = f"no job '{name}' was submitted from here: {self.folder} has no record of it"
            raise NemotronError(message, remedy="NEMORUN_HOME says where records are kept.")
        return entry

    def find(self, name: str) -> Entry | None:
        """Give a job's entry, or None when there is none.

        Raises:
            NemotronError: It cannot be read.
        """
        if not _NAME.fullmatch(name):
            return None
        try:
            record = json.loads(self._path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            message = f"the record of the job '{name}' cannot be read: {self._path(name)}: {error}"
            raise NemotronError(message) from error
        version = record.pop("version", None) if isinstance(record, dict) else None
        if version not in {_VERSION, _OLDER}:
            message = f"the record of the job '{name}' was written by another version: {self._path(name)}"
            raise NemotronError(message)
        if not _is_entry(record) or record["name"] != name:
            message = f"the record of the job '{name}' is not what a record holds: {self._path(name)}"
            raise NemotronError(message)
        return Entry(**(_renewed(record) if version == _OLDER else record))

    def entries(self) -> Iterator[Entry]:
        """Yield every job's entry, the newest first; one that cannot be read is told of, and does not hide others."""
        found = [entry for name in self._names() if (entry := self._readable(name)) is not None]
        yield from sorted(found, key=lambda entry: entry.created, reverse=True)

    def unreadable(self) -> tuple[Path, ...]:
        """Give the files of records that cannot be read: nobody knows what jobs they are of."""
        found = []
        for name in self._names():
            try:
                self.find(name)
            except NemotronError:
                found.append(self._path(name))
        return tuple(found)

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _readable(self, name: str) -> Entry | None:
        try:
            return self.find(name)
        except NemotronError as error:
            log.warning("%s", error)
            return None

    def forget(self, name: str) -> None:
        """Remove the entry of a job that was never made, or is not to be remembered."""
        self._path(name).unlink(missing_ok=True)
        # What a sender leaves that was killed.
        (self.folder / _LOCKS / f"{name}{_SENDING}").unlink(missing_ok=True)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    def _sync(self) -> None:
        """Have the folder itself on the disk: an intent that a power failure takes away is none."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _renewed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give a record of the older version as one of today: whoever wrote it told its user of every accepted job."""
    profile = str(record.get("connection", {}).get("profile", ""))
    return {**record, "profile": profile, "told": bool(record.get("id"))}


_TYPES: Final[Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {"connection": (dict,), "told": (bool,), "nodes": (int,), "exit_code": (int, type(None))}
)
"""Field -> the types of its values in JSON, where they are no texts."""


def _is_entry(record: Mapping[str, Any]) -> bool:
    """Tell whether a record has the fields of an entry and no others, with values of their types."""
    known = {one.name: one for one in fields(Entry)}
    needed = {name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    if not needed <= record.keys() <= known.keys():
        return False
    if not all(isinstance(value, _TYPES.get(name, (str,))) for name, value in record.items()):
        return False
    states = {"", *(state.value for state in JobState if state.is_final)}
    connection = record.get("connection", {})
    return record.get("state", "") in states and all(isinstance(text, str) for text in connection.values())
