"""Lepton's API, as far as jobs need it (the cloud API notes and leptonai 0.27, api/v1/job.py, name the routes)."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.rehearsal.cluster import NameTakenError
from nemo_runspec.rehearsal.exchange import Call, Refusal, Reply, Route
from nemo_runspec.rehearsal.lepton_ray import LeptonRayApi
from nemo_runspec.rehearsal.lepton_rules import job_issues, job_pods
from nemo_runspec.rehearsal.logs import stream_log, timed_lines
from nemo_runspec.rehearsal.workloads import Order, Phase, random_letters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.rehearsal.cluster import Cluster
    from nemo_runspec.rehearsal.inventory import LeptonInventory
    from nemo_runspec.rehearsal.workloads import Timing, WorkloadSeen

_WORDS: Final = {
    Phase.RUNNING: "Running",
    Phase.RETRYING: "PendingRetry",
    Phase.RESTARTING: "Restarting",
    Phase.STOPPING: "Stopping",
    Phase.STOPPED: "Stopped",
    Phase.COMPLETED: "Completed",
    Phase.FAILED: "Failed",
    Phase.DELETING: "Deleting",
    Phase.DELETED: "Deleted",
    Phase.ARCHIVED: "Archived",
}
_KIND: Final = "job"
_FOREVER: Final = 10**18 * 9
_ENDINGS: Final = {Phase.RETRYING: "Failed", Phase.RESTARTING: "Stopped", Phase.STOPPED: "Stopped"}
"""Phase after a run -> the state that the run ended in."""
_CODES: Final = {
    400: "InvalidParameter",
    401: "Unauthorized",
    403: "Forbidden",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    409: "ResourceConflict",
    413: "RequestTooLarge",
    429: "TooManyRequests",
}
_WARNINGS: Final = frozenset({Phase.FAILED, Phase.RETRYING, Phase.RESTARTING})
_MODES: Final = ("alive_only", "archive_only", "alive_and_archive")
_PAGE: Final = 500
_LINES: Final = 5000
"""How many lines of a log are given at once, where nothing is said: what leptonai asks for."""


class LeptonApi:
    """Answers the calls of one workspace.

    Args:
        inventory: What exists.
        cluster: Runs the jobs.
        folder: The twin's folder.
        timing: How long things take.
    """

    def __init__(self, inventory: LeptonInventory, cluster: Cluster, folder: Path, timing: Timing) -> None:
        """Build the table of routes."""
        self.base = f"/api/v2/workspaces/{inventory.workspace_id}"
        self._inventory = inventory
        self._cluster = cluster
        self._folder = folder
        self._timing = timing
        table = (
            ("GET", "", self._workspace),
            ("GET", "/workspace", self._workspace),
            ("GET", "/dedicated-node-groups", self._node_groups),
            ("GET", "/dedicated-node-groups/{group}/nodes", self._nodes),
            ("POST", "/jobs", self._create),
            ("GET", "/jobs", self._list),
            ("GET", "/jobs/{id}", self._get),
            ("PATCH", "/jobs/{id}", self._patch),
            ("DELETE", "/jobs/{id}", self._delete),
            ("GET", "/jobs/{id}/events", self._events),
            ("GET", "/jobs/{id}/replicas", self._replicas),
            ("GET", "/jobs/{id}/replicas/{replica}/log", self._log),
            ("GET", "/logs", self._logs),
        )
        jobs = (Route(method, f"{self.base}{path}", handle) for method, path, handle in table)
        self.ray = LeptonRayApi(self.base, inventory, cluster, folder)
        self._routes = (*jobs, *self.ray.routes)

    @property
    def routes(self) -> tuple[Route, ...]:
        """Everything about jobs and Ray clusters that the clients' sources have."""
        return self._routes

    def authorise(self, call: Call) -> None:
        """Accept the workspace's token only."""
        if not secrets.compare_digest(call.bearer.encode(), self._inventory.token.encode()):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "the token is not valid in this workspace")

    def refusal(self, call: Call, refusal: Refusal) -> Reply:
        """Give `code` and `message`, of which clients show both."""
        del call  # every path has the same form
        details = "; ".join(f"{field}: {problem}" for field, problem in refusal.issues.items())
        message = ": ".join(filter(None, [refusal.message, details]))
        return Reply(refusal.status, {"code": _CODES.get(refusal.status, "InternalError"), "message": message})

    def _workspace(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call, parts
        name = self._inventory.workspace_id
        return Reply(HTTPStatus.OK, {"workspace_id": name, "workspace_name": name, "display_name": name})

    def _node_groups(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call, parts
        groups = self._inventory.node_group_ids().items()
        rows = [{"metadata": {"id": key, "name": name}, "spec": {}, "status": {}} for key, name in groups]
        return Reply(HTTPStatus.OK, rows)

    def _nodes(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call
        group = parts["group"]
        if group not in self._inventory.node_group_ids():
            raise Refusal(HTTPStatus.NOT_FOUND, f"node group '{group}' does not exist")
        nodes = self._inventory.node_ids(group)
        rows = [{"metadata": {"id": node}, "spec": {"unschedulable": False}, "status": None} for node in nodes]
        return Reply(HTTPStatus.OK, rows)

    def _create(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        body = call.json()
        issues = job_issues(body, self._inventory)
        if issues:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the job is not valid", issues)
        metadata, spec = body["metadata"], body["spec"]
        # Of a name alone, without an identifier, the platform makes one.
        job = metadata.get("id") or f"{metadata['name']}-{random_letters(4)}"
        if self._find(job, "alive_only") is not None:
            raise Refusal(HTTPStatus.CONFLICT, f"job '{job}' exists already")
        keep_s = spec.get("ttl_seconds_after_finished")
        order = Order(
            id=job,
            name=job,
            kind=_KIND,
            body=body,
            pods=job_pods(job, spec, self._inventory, self._folder),
            waiting=("Queueing", "Starting"),
            resuming=("Starting",),
            restarts=(spec.get("max_failure_retry") or 0) + (spec.get("max_job_failure_retry") or 0),
            not_before_s=float((spec.get("time_schedule") or {}).get("start_at") or 0),
            keep_s=None if keep_s is None else float(keep_s),
        )
        try:
            seen = self._cluster.create(order)
        except NameTakenError as error:
            raise Refusal(HTTPStatus.CONFLICT, f"job '{job}' exists already") from error
        return Reply(HTTPStatus.CREATED, self._job(seen))

    def _list(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        mode = _mode(call)
        page, size = call.number("page", 1, least=1), call.number("page_size", _PAGE, least=1)
        text, states = call.parameter("q") or call.parameter("query"), call.query.get("status", [])
        jobs = [
            self._job(seen)
            for seen in reversed(self._cluster.workloads())
            if self._is_in(seen, mode) and text in seen.name and (not states or _state(seen) in states)
        ]
        return Reply(HTTPStatus.OK, {"jobs": jobs[(page - 1) * size : page * size], "total": len(jobs)})

    def _get(self, call: Call, parts: Mapping[str, str]) -> Reply:
        return Reply(HTTPStatus.OK, self._job(self._known(call, parts)))

    def _patch(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(call, parts)
        spec = call.json().get("spec")
        stopped = spec.get("stopped") if isinstance(spec, dict) else None
        if not isinstance(stopped, bool) or seen.phase.is_gone:
            raise Refusal(HTTPStatus.BAD_REQUEST, "only spec.stopped of a job that is alive can be changed")
        (self._cluster.stop if stopped else self._cluster.resume)(seen.key)
        return Reply(HTTPStatus.OK, self._job(self._cluster.by_key(seen.key)))

    def _delete(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(call, parts)
        self._cluster.delete(seen.key)
        return Reply(HTTPStatus.OK, {})

    def _events(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(call, parts)
        rows = [
            {
                "type": "Warning" if phase in _WARNINGS else "Normal",
                "reason": _WORDS.get(phase, "Queueing"),
                "regarding": {"kind": "LeptonJob", "name": seen.name},
                "count": 1,
                "last_observed_time": datetime.fromtimestamp(when, UTC).isoformat(),
            }
            for when, phase in seen.history
        ]
        return Reply(HTTPStatus.OK, rows)

    def _replicas(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(call, parts)
        # A replica is there from the moment that its pod has been started.
        rows = [
            {
                "metadata": {"id": pod.name, "name": pod.name},
                "id": pod.name,
                "status": {"node": {"id": f"node-{pod.index}", "name": f"node-{pod.index}"}},
            }
            for pod in seen.pods
            if pod.is_started
        ]
        return Reply(HTTPStatus.OK, rows)

    def _log(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(call, parts)
        name = parts["replica"]
        pod = next((pod for pod in seen.pods if pod.name == name and pod.is_started), None)
        if pod is None or seen.phase.is_gone:
            raise Refusal(HTTPStatus.NOT_FOUND, f"replica '{name}' does not exist")
        return Reply(HTTPStatus.OK, stream=stream_log(self._cluster, seen, pod))

    def _logs(self, call: Call, parts: Mapping[str, str]) -> Reply:
        """Give lines of all replicas, the latest ones first unless `direction` says otherwise."""
        seen = self._known(call, {**parts, "id": call.parameter("job")})
        replica, direction = call.parameter("replica"), call.parameter("direction", "backward")
        if direction not in {"backward", "forward"}:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"direction '{direction}' is neither backward nor forward")
        first, last = call.number("start", 0), call.number("end", _FOREVER)
        found = [
            (when, pod.name, line)
            for pod in seen.pods
            if pod.is_started and replica in {"", pod.name}
            for when, line in timed_lines(seen, pod)
            if first <= when <= last and call.parameter("q") in line
        ]
        found.sort(key=lambda entry: entry[0], reverse=direction == "backward")
        values: dict[str, list[list[str]]] = {}
        for when, name, line in found[: call.number("limit", _LINES, least=1)]:
            values.setdefault(name, []).append([str(when), line])
        rows = [{"stream": {"job": seen.id, "replica": name}, "values": lines} for name, lines in values.items()]
        return Reply(HTTPStatus.OK, {"status": "success", "data": {"resultType": "streams", "result": rows}})

    def _is_in(self, seen: WorkloadSeen, mode: str) -> bool:
        """Tell whether a query in a mode finds a job: the archive has those that are gone, where it keeps them."""
        if seen.kind != _KIND or (seen.phase is Phase.DELETED and not self._inventory.keeps_deleted):
            return False
        return mode == "alive_and_archive" or seen.phase.is_gone is (mode == "archive_only")

    def _find(self, job: str, mode: str) -> WorkloadSeen | None:
        found = (seen for seen in reversed(self._cluster.workloads()) if seen.id == job and self._is_in(seen, mode))
        return next(found, None)

    def _known(self, call: Call, parts: Mapping[str, str]) -> WorkloadSeen:
        seen = self._find(parts["id"], _mode(call))
        if seen is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"job '{parts['id']}' does not exist")
        return seen

    def _job(self, seen: WorkloadSeen) -> dict[str, Any]:
        metadata = {**seen.body["metadata"], "id": seen.id, "created_at": int(seen.created_s * 1000)}
        is_told = time.time() >= seen.created_s + self._timing.unknown_s
        return {
            "metadata": {"name": seen.name, **metadata},
            "spec": seen.body["spec"],
            "status": _status(seen) if is_told else None,
        }


def _mode(call: Call) -> str:
    mode = call.parameter("job_query_mode", _MODES[0])
    if mode not in _MODES:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"job_query_mode '{mode}' is none of {', '.join(_MODES)}")
    return mode


def _state(seen: WorkloadSeen) -> str:
    if seen.phase is Phase.WAITING and time.time() < seen.order.not_before_s:
        return "Awaiting"
    again = [pod for pod in seen.pods if pod.restarts and pod.exit_code is None]
    if seen.phase is Phase.RUNNING and again and not any(pod.is_ready for pod in seen.pods):
        return "Starting"
    return _WORDS.get(seen.phase, seen.word)


def _status(seen: WorkloadSeen) -> dict[str, Any]:
    alive = [pod for pod in seen.pods if pod.exit_code is None]
    # As Kubernetes counts a job's pods: what is ended when the job fails has failed with it, and what is ended because
    # someone stops or deletes the job has not.
    failed = [pod for pod in seen.pods if pod.exit_code and (seen.phase is Phase.FAILED or not pod.was_stopped)]
    return {
        "job_name": seen.name,
        "state": _state(seen),
        "ready": sum(pod.is_ready for pod in seen.pods),
        "active": len(alive),
        "failed": len(failed),
        "succeeded": sum(pod.exit_code == 0 for pod in seen.pods),
        "creation_time": int(seen.created_s * 1000),
        "completion_time": None if seen.finished_s is None else int(seen.finished_s * 1000),
        "job_history": _earlier_runs(seen),
    }


def _earlier_runs(seen: WorkloadSeen) -> list[dict[str, Any]]:
    """Give the runs that ended before the latest one began: a pod failed, or someone stopped or took them all."""
    runs: list[dict[str, Any]] = []
    began: float | None = None
    for when, phase in seen.history[:-1] if seen.phase is Phase.STOPPED else seen.history:
        if phase is Phase.RUNNING:
            began = when
        elif began is not None and phase in _ENDINGS:
            times = {"creation_time": int(began * 1000), "completion_time": int(when * 1000)}
            state = _ENDINGS[phase]
            counts = {"ready": 0, "active": 0, "failed": int(state == "Failed"), "succeeded": 0}
            runs.append({"job_name": seen.name, "state": state, **counts, **times})
            began = None
    return runs
