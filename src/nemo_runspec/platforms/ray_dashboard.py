"""Jobs on a running Ray cluster, through its dashboard: Ray's own HTTP API, over the calls that platforms get.

The routes are those of Ray's job submission (ray 2.49 and 2.60, dashboard/modules/job/job_head.py). Ray's own client
would need Ray on this machine, has no timeouts, and takes its address from `RAY_ADDRESS` whatever it is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nemo_runspec.errors import GoneError
from nemo_runspec.platforms.creation import create
from nemo_runspec.platforms.workload import JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.http import Api

_STATES: Final = MappingProxyType(
    {
        "PENDING": JobState.STARTING,
        "RUNNING": JobState.RUNNING,
        "STOPPED": JobState.CANCELLED,
        "SUCCEEDED": JobState.SUCCEEDED,
        "FAILED": JobState.FAILED,
    }
)
"""Ray's words (`ray.job_submission.JobStatus`) -> ours; any other is UNKNOWN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A job to run on a Ray cluster.

    Args:
        id: Its submission identifier, fixed before it is sent: Ray takes each only once.
        entrypoint: The command, for a shell, started on the head.
        runtime_env: Ray's runtime environment of the driver and of all its workers.
        metadata: What the job is labelled with.
    """

    id: str
    entrypoint: str
    runtime_env: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class RayDashboard:
    """The dashboard of one cluster.

    Args:
        api: The platform that passes calls on to it.
        path: Where, below the platform's address.
    """

    def __init__(self, api: Api, path: str) -> None:
        """Ask nothing yet."""
        self._api = api
        self._path = path

    def nodes(self) -> int:
        """Count the nodes that Ray knows to be alive."""
        answer = self._api.call("GET", f"{self._path}/nodes", query=(("view", "summary"),), deadline_s=self._look_s)
        summary = _table(_table(answer, "data"), "summary") if isinstance(answer, dict) else []
        rows = summary if isinstance(summary, list) else []
        return sum(_table(_table(row, "raylet"), "state") == "ALIVE" for row in rows)

    def upload(self, name: str, data: bytes) -> None:
        """Put a package into the cluster's store, unless it is there.

        Args:
            name: The package's name, which is the digest of what it holds.
            data: The zip.
        """
        path = f"{self._path}/api/packages/gcs/{quote(name, safe='')}"
        try:
            self._api.call("GET", path)
        except GoneError:
            self._api.call("PUT", path, body=data)

    def submit(self, driver: Driver) -> None:
        """Start a job once, whatever becomes of the answers; one with its identifier that is there is this one.

        Raises:
            PlatformError: The cluster does not take it, or cannot be asked.
        """
        if self.find(driver.id) is not None:
            return
        body = {
            "entrypoint": driver.entrypoint,
            "submission_id": driver.id,
            "runtime_env": dict(driver.runtime_env),
            "metadata": dict(driver.metadata),
        }
        env = driver.runtime_env.get("env_vars", {})
        create(
            self._api,
            f"{self._path}/api/jobs/",
            json.dumps(body).encode(),
            name=driver.id,
            read=lambda answer: answer.get("submission_id") if isinstance(answer, dict) else None,
            find=lambda: driver.id if self.find(driver.id) is not None else None,
            hide=tuple(env.values()),
        )

    def find(self, identifier: str) -> Mapping[str, Any] | None:
        """Give what the cluster says of a job; None where it knows none of that identifier."""
        try:
            found = self._api.call("GET", self._job(identifier), deadline_s=self._look_s)
        except GoneError:
            return None
        return found if isinstance(found, dict) else {}

    def look(self, identifier: str) -> Seen | None:
        """Tell how a job stands; None where the cluster knows none of that identifier."""
        found = self.find(identifier)
        return None if found is None else seen(found)

    def jobs(self) -> tuple[Mapping[str, Any], ...]:
        """Give the jobs that were submitted to the cluster, the latest first."""
        found = self._api.call("GET", f"{self._path}/api/jobs/", deadline_s=self._look_s)
        rows = [row for row in found if isinstance(row, dict) and row.get("submission_id")] if found else []
        return tuple(sorted(rows, key=lambda row: row.get("start_time") or 0, reverse=True))

    def logs(self, identifier: str) -> bytes:
        """Give everything that a job's driver has printed so far."""
        answer = self._api.call("GET", f"{self._job(identifier)}/logs", deadline_s=self._look_s)
        text = answer.get("logs") if isinstance(answer, dict) else None
        return (text or "").encode(errors="replace")

    def stop(self, identifier: str) -> None:
        """Ask a job to end: its driver gets SIGTERM, and SIGKILL some seconds later."""
        self._api.call("POST", f"{self._job(identifier)}/stop", deadline_s=self._look_s)

    @property
    def _look_s(self) -> float:
        return self._api.patience.look_s

    def _job(self, identifier: str) -> str:
        return f"{self._path}/api/jobs/{quote(identifier, safe='')}"


def seen(job: Mapping[str, Any]) -> Seen:
    """Give how a job stands in our words.

    Args:
        job: As the dashboard describes it (`ray.job_submission.JobDetails`).
    """
    word = str(job.get("status") or "")
    state = _STATES.get(word, JobState.UNKNOWN)
    code = job.get("driver_exit_code")
    # A signal's number is negative in Python; a shell adds 128.
    code = None if not isinstance(code, int) else 128 - code if code < 0 else code
    return Seen(state, word, exit_code=code if state in {JobState.SUCCEEDED, JobState.FAILED} else None)


def _table(holder: Any, name: str) -> Any:  # noqa: ANN401 - any JSON value
    return holder.get(name) if isinstance(holder, dict) else None
