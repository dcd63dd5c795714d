"""The journal of submitted cloud jobs: one private file a job, written before the job is sent.

A client that is killed while it submits leaves a record of what it was about to make, and no two jobs share a file,
so that jobs of one experiment, which are submitted in parallel, cannot lose each other's records.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from nemo_runspec.errors import NemotronError
from nemo_runspec.platforms.workload import Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

_VERSION: Final = 1
_SEPARATOR: Final = "___"
_NAME: Final = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a job on a cloud platform; no secret is among it.

    Args:
        platform: `lepton` or `dgxcloud`.
        kind: The platform's word for the workload.
        name: The workload's unique name.
        id: The platform's identifier; empty while the platform has not answered.
        title: What the job is called.
        experiment: nemo-run's experiment, where there is one.
        job_dir: The job's folder on this machine, where there is one.
        pod_job_dir: The job's folder in its pods.
        digest: SHA-256 of the request's body.
        connection: How the platform is reached, with references in the place of secrets.
        created: When it was about to be sent, as ISO 8601 in UTC.
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
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    @property
    def app_id(self) -> str:
        """The identifier for torchx: experiment and title for a person, and the name, by which it is found again."""
        parts = (re.sub(r"[^A-Za-z0-9_.-]+", "-", part) or "-" for part in (self.experiment, self.title))
        return _SEPARATOR.join((*parts, self.name))

    @property
    def submitted(self) -> Submitted:
        """The workload as a platform's client takes it."""
        return Submitted(self.platform, self.kind, self.id or self.name, self.name)

    def accepted(self, submitted: Submitted) -> Self:
        """Give the entry with what the platform has answered."""
        return replace(self, kind=submitted.kind, id=submitted.id, name=submitted.name)


def name_in(app_id: str) -> str:
    """Give the workload's name in torchx' identifier, whatever the experiment and the title hold."""
    return app_id.rpartition(_SEPARATOR)[2]


class Journal:
    """The entries below one home of nemo-run.

    Args:
        home: nemo-run's home folder; nothing is made before the first entry is written.
    """

    def __init__(self, home: str | Path) -> None:
        """Remember the folder."""
        self.folder = Path(home) / "nemo_runspec" / "jobs"

    def write(self, entry: Entry) -> None:
        """Keep an entry, in the place of an older one of the same job; a reader sees the old or the new one."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        record = {"version": _VERSION, **asdict(replace(entry, connection=dict(entry.connection)))}
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".")  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self._path(entry.name))

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
        if not isinstance(record, dict) or record.pop("version", None) != _VERSION:
            message = f"the record of the job '{name}' was written by another version: {self._path(name)}"
            raise NemotronError(message)
        if not _is_entry(record) or record["name"] != name:
            message = f"the record of the job '{name}' is not what a record holds: {self._path(name)}"
            raise NemotronError(message)
        return Entry(**record)

    def entries(self) -> Iterator[Entry]:
        """Yield every job's entry, the newest first; one that cannot be read does not hide the others."""
        names = [path.stem for path in self.folder.glob("*.json")] if self.folder.is_dir() else []
        found = [entry for name in names if (entry := self._readable(name)) is not None]
        yield from sorted(found, key=lambda entry: entry.created, reverse=True)

    def _readable(self, name: str) -> Entry | None:
        try:
            return self.find(name)
        except NemotronError as error:
            log.warning("%s", error)
            return None

    def forget(self, name: str) -> None:
        """Remove the entry of a job that was never made."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _is_entry(record: Mapping[str, object]) -> bool:
    """Tell whether a record has the fields of an entry and no others, with values of their types."""
    known = {one.name: one for one in fields(Entry)}
    needed = {name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    if not needed <= record.keys() <= known.keys():
        return False
    connection = record.get("connection", {})
    texts = [value for name, value in record.items() if name != "connection"]
    texts += connection.values() if isinstance(connection, dict) else [None]
    return all(isinstance(text, str) for text in texts)
