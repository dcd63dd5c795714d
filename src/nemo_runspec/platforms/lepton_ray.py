"""A Ray cluster of Lepton, and the driver on it, as one workload: made, watched and ended like any other.

`POST /rayclusters` makes the cluster; when it is ready, the driver is started through its dashboard, which is reached
below `/rayclusters/NAME/dashboard` (cloud API notes, 1.8). Both have the workload's name, so that neither is ever made
twice. The cluster of a job is suspended at the job's end; one that was there before is left as it is.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nemo_runspec.errors import GoneError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import refuse_if_abandoned
from nemo_runspec.platforms.creation import before_sending, create
from nemo_runspec.platforms.following import LogReader, stop
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.ray_cluster import Cluster, cluster_of
from nemo_runspec.platforms.ray_dashboard import Driver, RayDashboard, seen
from nemo_runspec.platforms.ray_request import CLUSTER_KIND, EXISTING, JOB_KIND, RAY_KINDS
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.workload import NAME, NODE_GROUP_ID, Cause, JobState, Seen, Submitted, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemo_runspec.platforms.workload import Platform, Request

_LOG: Final = logging.getLogger(__name__)
DRIVER: Final = "driver"
"""What stands for the pod: the output of the whole cluster's job is its driver's."""

READY: Final = "Ready"
STOPPED: Final = "Stopped"
STOPPING: Final = frozenset({"Stopping", "Deleting"})
"""The platform's words (leptonai 0.27, `LeptonRayClusterState`)."""

LINGER_S: Final = 600.0
"""How long the cluster of a job that nobody waits for is kept after the job's end, so that its output can be read."""

HEAD_S: Final = 120.0
"""How long a head may not answer for a driver that was started there, in seconds, before that is taken for lost."""

_FINAL: Final = frozenset(state for state in JobState if state.is_final)
_LOG_S: Final = (0.5, 5.0)
"""Shortest and longest time between two looks at a driver's output, in seconds."""
_STOP_S: Final = 10.0
"""How long a driver may take to end before its cluster is taken from it."""


class LeptonRayClient(LeptonClient):
    """Lepton's API with its Ray clusters, as a `nemo_runspec.platforms.workload.Platform`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of the class that it extends
        """Send nothing yet."""
        super().__init__(*arguments, **options)
        self._started: set[str] = set()
        self._silent_since: dict[str, float] = {}

    # The clusters themselves.

    def clusters(self) -> tuple[Cluster, ...]:
        """List the Ray clusters of the workspace."""
        found = self._api.call("GET", "/rayclusters", deadline_s=self._patience.look_s)
        rows = found.get("rayclusters") if isinstance(found, dict) else found
        return tuple(cluster_of(row) for row in rows or () if isinstance(row, dict))

    def cluster(self, name: str) -> Cluster:
        """Give what the platform says of a cluster.

        Raises:
            GoneError: There is none of that name.
        """
        return cluster_of(self._api.call("GET", _path(name), deadline_s=self._patience.look_s), name)

    def make(self, request: Request, name: str) -> None:
        """Create a cluster; the same call again finds it.

        Raises:
            RefusedError: The platform does not take it; with status 409 where the name is taken.
            UnreachableError: Whether it was made is not known.
        """
        group = before_sending(lambda: self._node_group_id(request.names[NODE_GROUP_ID]))
        create(
            self._api,
            "/rayclusters",
            canonical(request.filled({NAME: name, NODE_GROUP_ID: group})),
            name=name,
            read=lambda _: name,  # the body of the answer says nothing
            find=lambda: self._found(name),
            hide=_secrets(request),
        )

    def suspend(self, name: str) -> None:
        """Have a cluster's pods ended; its record stays, and it can be resumed."""
        self._suspend(name, wanted=True)

    def resume(self, name: str) -> None:
        """Have the pods of a suspended cluster started again, with an empty Ray."""
        self._suspend(name, wanted=False)

    def delete(self, name: str) -> None:
        """Have a cluster's pods ended, and its record removed; one that is not there is fine."""
        try:
            self._api.call("DELETE", _path(name))
        except GoneError:
            return

    def dashboard(self, name: str) -> RayDashboard:
        """Give the dashboard of a cluster."""
        return RayDashboard(self._api, f"{_path(name)}/dashboard")

    def await_ready(self, name: str, say: Callable[[str], None]) -> None:
        """Wait until a cluster is ready, however long that takes.

        Args:
            name: The cluster.
            say: Called with each state that it is in meanwhile.

        Raises:
            PlatformError: It is being ended, or is not there.
            AbandonedError: Nobody wants it any more.
        """
        told = ""
        while (state := self._state(name)) != READY:
            if state == STOPPED or state in STOPPING:
                message = f"the Ray cluster '{name}' is {state.lower()}"
                raise RefusedError(message, remedy=f"Start it again: nemotron ray attach {name}")
            if state and state != told:
                say(f"{name}: the Ray cluster is {state.lower()}")
            told = state
            self._patience.sleep(self._patience.poll_s)
            refuse_if_abandoned()
        say(f"{name}: the Ray cluster is ready")

    def start(self, workload: Submitted, driver: Driver, package: tuple[str, bytes]) -> None:
        """Start the driver of a workload whose cluster is ready; the same call again is fine.

        Args:
            workload: The workload.
            driver: Its driver, with the workload's name for its identifier.
            package: Name and content of what travels.

        Raises:
            PlatformError: The cluster does not take it, is gone, or cannot be asked.
            AbandonedError: Nobody wants it any more.
        """
        dashboard = self.dashboard(cluster_in(workload))
        if dashboard.find(driver.id) is None:
            dashboard.upload(*package)
            refuse_if_abandoned()
            dashboard.submit(driver)
        self._started.add(workload.name)

    def release(self, workload: Submitted) -> None:
        """Let go of what an ended workload holds: the cluster that was made for it. Done again, it does nothing."""
        if workload.kind == CLUSTER_KIND:
            self.suspend(workload.name)

    # As a platform.

    def submit(self, request: Request, name: str) -> Submitted:
        """Create a job, or the cluster of a Ray job; see `Platform.submit`. What is missing then does `start`."""
        if request.kind == CLUSTER_KIND:
            try:
                self.make(request, name)
            except UnreachableError:
                self._newborns.add(name)
                raise
            self._newborns.add(name)
            return Submitted("lepton", CLUSTER_KIND, name, name)
        if request.kind == JOB_KIND:
            cluster = request.names[EXISTING]
            try:
                before_sending(lambda: self.cluster(cluster))
            except GoneError as error:
                message = f"the Lepton workspace has no Ray cluster '{cluster}'"
                raise RefusedError(message, remedy="See `nemotron ray list`, or make one: nemotron ray up.") from error
            return Submitted("lepton", JOB_KIND, f"{cluster}/{name}", name)
        return super().submit(request, name)

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a workload up by its name; see `Platform.find`."""
        if kind == CLUSTER_KIND:
            return Submitted("lepton", kind, name, name) if self._found(name) else None
        # Before its driver is started, nothing was made of a job on a cluster that was there.
        return None if kind == JOB_KIND else super().find(kind, name)

    def look(self, workload: Submitted) -> Seen:
        """Ask how a workload stands; see `Platform.look`."""
        if workload.kind not in RAY_KINDS:
            return super().look(workload)
        cluster = self._look_at_cluster(cluster_in(workload))
        is_up = cluster.word == READY or (cluster.state is JobState.STARTING and workload.name in self._started)
        return self._look_at_driver(workload) if is_up else cluster

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """Give what stands for the pods; see `Platform.pods`."""
        return (DRIVER,) if workload.kind in RAY_KINDS else super().pods(workload)

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give the driver's output, or a replica's; see `Platform.log`."""
        return self._driver_log(workload) if workload.kind in RAY_KINDS else super().log(workload, pod)

    def cancel(self, workload: Submitted) -> None:
        """Stop the driver, and suspend the cluster that was made for it; see `Platform.cancel`."""
        if workload.kind not in RAY_KINDS:
            super().cancel(workload)
            return
        now = self.look(workload)
        if workload.kind == JOB_KIND and now.state is JobState.STARTING and workload.name not in self._started:
            return  # its driver was never started, and nothing else was made
        if not now.state.is_final and workload.name in self._started:
            self._stop_driver(workload)
        if workload.kind == JOB_KIND:
            self._refuse_if_running(workload)
            return
        name = workload.name
        if not stop(lambda: self.suspend(name), lambda: self._look_at_cluster(name), _FINAL, self._patience):
            message = f"Lepton has not suspended the Ray cluster '{name}': it is '{self._state(name)}'"
            raise PlatformError(message, remedy=f"End it: nemotron ray down {name}")

    def remove(self, workload: Submitted) -> None:
        """Delete what an ended workload has left; see `Platform.remove`."""
        if workload.kind == CLUSTER_KIND:
            remove_ended(workload.name, self.look(workload), lambda: self.delete(workload.name))
        elif workload.kind != JOB_KIND:
            super().remove(workload)

    def _state(self, name: str) -> str:
        try:
            found = self._api.call("GET", _path(name), deadline_s=self._patience.look_s, doubting=True)
        except GoneError:
            if name in self._newborns:
                return ""
            raise
        self._newborns.seen(name)
        return cluster_of(found, name).state

    def _found(self, name: str) -> str | None:
        try:
            self.cluster(name)
        except GoneError:
            return None
        return name

    def _suspend(self, name: str, *, wanted: bool) -> None:
        self._api.call("PATCH", _path(name), body=json.dumps({"spec": {"suspend": wanted}}).encode())

    def _look_at_cluster(self, name: str) -> Seen:
        try:
            word = self._state(name)
        except GoneError:
            return Seen(JobState.LOST)
        except UnreachableError:
            return Seen(JobState.UNREACHABLE)
        if word in STOPPING:
            return Seen(JobState.STOPPING, word)
        if word == STOPPED:
            return Seen(JobState.CANCELLED, word)
        return Seen(JobState.STARTING if word else JobState.UNKNOWN, word)

    def _look_at_driver(self, workload: Submitted) -> Seen:
        clock = self._patience.clock
        try:
            found = self.dashboard(cluster_in(workload)).find(workload.name)
        except PlatformError:
            since = self._silent_since.setdefault(workload.name, clock())
            if workload.name in self._started and clock() - since > HEAD_S:
                return Seen(JobState.FAILED, f"the head does not answer for {HEAD_S:g} s", cause=Cause.NODE)
            return Seen(JobState.UNKNOWN, "the head does not answer")
        self._silent_since.pop(workload.name, None)
        if found is not None:
            self._started.add(workload.name)
            if workload.kind == CLUSTER_KIND and _ended_s(found) > LINGER_S:
                self._let_go(workload.name)
            return seen(found)
        if workload.name in self._started:
            # A head that was started again knows nothing of what ran before.
            return Seen(JobState.FAILED, "the head was started again", cause=Cause.NODE)
        return Seen(JobState.STARTING, "ready, and without its driver")

    def _let_go(self, name: str) -> None:
        """Suspend the cluster of a job that nobody was there to see the end of."""
        try:
            self.suspend(name)
        except PlatformError as error:
            _LOG.warning("the Ray cluster '%s', whose job has ended, cannot be suspended: %s", name, error.message)

    def _stop_driver(self, workload: Submitted) -> None:
        """Ask a driver to end, and wait for that a while; where no head answers there is nothing to wait for."""
        try:
            self.dashboard(cluster_in(workload)).stop(workload.name)
        except PlatformError as error:
            _LOG.warning("the driver '%s' cannot be asked to end: %s", workload.name, error.message)
            return
        end = self._patience.clock() + _STOP_S
        while self._patience.clock() < end and not self.look(workload).state.is_final:
            self._patience.sleep(self._patience.poll_s)

    def _refuse_if_running(self, workload: Submitted) -> None:
        now = self.look(workload)
        if not now.state.is_final:
            message = f"the driver '{workload.name}' on the Ray cluster has not stopped: it is '{now.word}'"
            raise PlatformError(message, remedy="Cancel it again, or stop it on the cluster's dashboard.")

    def _driver_log(self, workload: Submitted) -> Iterator[str]:
        """Read a driver's output again and again until it is over; there is no more to it than what was printed."""
        reader, patience = LogReader(), self._patience
        dashboard = self.dashboard(cluster_in(workload))
        shortest_s, longest_s = _LOG_S
        wait_s = shortest_s
        while True:
            over = self.look(workload).state.is_final
            begin = patience.clock()
            try:
                text = dashboard.logs(workload.name)
            except (GoneError, UnreachableError):
                text = b""
            lines = list(reader.lines([text]))
            yield from lines
            if over:
                yield from reader.rest()
                return
            # A long output is read less often: it comes whole each time.
            wait_s = shortest_s if lines else min(2 * wait_s, longest_s)
            patience.sleep(max(wait_s, 5 * (patience.clock() - begin)))


def release(platform: Platform, workload: Submitted) -> None:
    """Let go of what an ended workload holds on its platform.

    Args:
        platform: Its platform; only Lepton's Ray clusters outlive what runs on them.
        workload: The workload.
    """
    if isinstance(platform, LeptonRayClient):
        platform.release(workload)


def cluster_in(workload: Submitted) -> str:
    """Give the name of the cluster that a workload's driver runs on."""
    return workload.id.partition("/")[0] if workload.kind == JOB_KIND else workload.name


def _secrets(request: Request) -> tuple[str, ...]:
    """Give the secrets that a cluster's create call holds, which no message may repeat."""
    variables = request.body["spec"]["head_group_spec"]["envs"]
    return tuple(entry["value"] for entry in variables if entry["name"] in request.secret_variables)


def _ended_s(job: Mapping[str, Any]) -> float:
    """Tell how many seconds ago a job of Ray ended; 0 where it has not."""
    ended_ms = job.get("end_time")
    return time.time() - ended_ms / 1000 if isinstance(ended_ms, int) and ended_ms else 0.0


def _path(name: str) -> str:
    return f"/rayclusters/{quote(name, safe='')}"
