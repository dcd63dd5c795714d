"""Lepton's Ray clusters on a twin: their routes, and pods that run a real Ray behind the dashboard's address.

Routes and fields are those of leptonai 0.27 (api/v1/raycluster.py, types/raycluster.py) and the cloud API notes, 1.8.
"""

from __future__ import annotations

import http.client
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.rehearsal.cluster import NameTakenError
from nemo_runspec.rehearsal.exchange import Call, Refusal, Reply, Route, Tunnel
from nemo_runspec.rehearsal.lepton_ray_rules import cluster_issues, cluster_pods, network_of
from nemo_runspec.rehearsal.workloads import Order, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.rehearsal.cluster import Cluster
    from nemo_runspec.rehearsal.inventory import LeptonInventory
    from nemo_runspec.rehearsal.workloads import WorkloadSeen

KIND: Final = "raycluster"
DASHBOARD_PORT: Final = 8265

_RESTARTS: Final = 1_000_000
"""KubeRay starts a pod of a cluster again as often as it ends."""
_PROBE_S: Final = 5.0
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_WORDS: Final = {
    Phase.WAITING: "Starting",
    Phase.STOPPING: "Stopping",
    Phase.STOPPED: "Stopped",
    Phase.DELETING: "Deleting",
}


class LeptonRayApi:
    """Answers the calls about the Ray clusters of one workspace.

    Args:
        base: Path of the workspace.
        inventory: What exists.
        cluster: Runs the pods.
        folder: The twin's folder.
    """

    def __init__(self, base: str, inventory: LeptonInventory, cluster: Cluster, folder: Path) -> None:
        """Know no cluster."""
        self._base = base
        self._inventory = inventory
        self._cluster = cluster
        self._folder = folder
        self._alive: dict[tuple[object, ...], int] = {}
        self.opened: Callable[[str], None] = lambda _: None
        """Called with the network of each cluster whose head has begun to answer."""

    @property
    def routes(self) -> Iterator[Route]:
        """Everything about Ray clusters that the clients' sources have."""
        path = f"{self._base}/rayclusters"
        yield Route("POST", path, self._create)
        yield Route("GET", path, self._list)
        yield Route("GET", f"{path}/{{name}}", self._get)
        yield Route("PATCH", f"{path}/{{name}}", self._patch)
        yield Route("DELETE", f"{path}/{{name}}", self._delete)
        for method in _METHODS:
            yield Route(method, f"{path}/{{name}}/dashboard/{{rest*}}", self._pass_on)

    def _create(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        body = call.json()
        issues = cluster_issues(body, self._inventory)
        if issues:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the Ray cluster is not valid", issues)
        metadata = body["metadata"]
        name = metadata.get("id") or metadata["name"]
        order = Order(
            id=name,
            name=name,
            scope=KIND,
            kind=KIND,
            body=body,
            pods=cluster_pods(name, body["spec"], self._inventory, self._folder),
            waiting=("Starting",),
            resuming=("Starting",),
            restarts=_RESTARTS,
        )
        try:
            seen = self._cluster.create(order)
        except NameTakenError as error:
            raise Refusal(HTTPStatus.CONFLICT, f"Ray cluster '{name}' exists already") from error
        return Reply(HTTPStatus.CREATED, self._shown(seen))

    def _list(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call, parts
        clusters = [seen for seen in self._cluster.workloads() if seen.kind == KIND and not seen.phase.is_gone]
        return Reply(HTTPStatus.OK, [self._shown(seen) for seen in clusters])

    def _get(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call
        return Reply(HTTPStatus.OK, self._shown(self._known(parts)))

    def _patch(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._known(parts)
        given = call.json()
        suspend = given["spec"].get("suspend") if isinstance(given.get("spec"), dict) else None
        if given != {"spec": {"suspend": suspend}} or not isinstance(suspend, bool):
            raise Refusal(HTTPStatus.BAD_REQUEST, "a rehearsal changes spec.suspend of a Ray cluster, and nothing else")
        (self._cluster.stop if suspend else self._cluster.resume)(seen.key)
        return Reply(HTTPStatus.OK, self._shown(self._cluster.by_key(seen.key)))

    def _delete(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call
        self._cluster.delete(self._known(parts).key)
        return Reply(HTTPStatus.OK, {})

    def _pass_on(self, call: Call, parts: Mapping[str, str]) -> Reply:
        """Pass a request on to the dashboard in the head's pod, as long as there is one."""
        seen = self._known(parts)
        _, _, rest = call.target.partition(f"/{parts['name']}/dashboard")
        try:
            if seen.phase.is_active:
                connection = self._cluster.connection(network_of(seen.name), DASHBOARD_PORT)
                return Reply(HTTPStatus.OK, tunnel=Tunnel(connection, rest))
        except OSError as error:
            message = f"the head of Ray cluster '{seen.name}' does not answer"
            raise Refusal(HTTPStatus.BAD_GATEWAY, message) from error
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"Ray cluster '{seen.name}' has no head")

    def _known(self, parts: Mapping[str, str]) -> WorkloadSeen:
        for seen in reversed(self._cluster.workloads()):
            if (seen.kind, seen.name) == (KIND, parts["name"]) and not seen.phase.is_gone:
                return seen
        raise Refusal(HTTPStatus.NOT_FOUND, f"Ray cluster '{parts['name']}' does not exist")

    def _shown(self, seen: WorkloadSeen) -> dict[str, Any]:
        workers = len(seen.order.pods) - 1
        alive = self._nodes_alive(seen)
        state = _WORDS.get(seen.phase) or ("Ready" if alive > workers else "Not Ready")
        spec = {**seen.body["spec"], "suspend": seen.phase in {Phase.STOPPING, Phase.STOPPED}}
        return {
            "metadata": {
                "id": seen.name,
                "name": seen.name,
                "created_at": int(seen.created_s * 1000),
            },
            "spec": spec,
            "status": {
                "state": state,
                "desiredWorkerReplicas": workers,
                "readyWorkerReplicas": max(0, min(alive - 1, workers)),
            },
        }

    def _nodes_alive(self, seen: WorkloadSeen) -> int:
        """Count the nodes that Ray itself knows; once all were there, they are until a pod ends."""
        if seen.phase is not Phase.RUNNING or any(pod.exit_code is not None for pod in seen.pods):
            return 0
        if len(seen.pods) < len(seen.order.pods):
            return 0
        key = (seen.key, len(seen.history), *((pod.name, pod.restarts) for pod in seen.pods))
        if self._alive.get(key, 0) < len(seen.pods):
            is_new = not self._alive.get(key)
            self._alive[key] = self._asked(seen)
            if is_new and self._alive[key]:
                self.opened(network_of(seen.name))
        return self._alive[key]

    def _asked(self, seen: WorkloadSeen) -> int:
        connection = http.client.HTTPConnection("dashboard", timeout=_PROBE_S)
        try:
            connection.sock = self._cluster.connection(network_of(seen.name), DASHBOARD_PORT)
            connection.sock.settimeout(_PROBE_S)
            connection.request("GET", "/nodes?view=summary")
            answer = json.loads(connection.getresponse().read())
            nodes = answer["data"]["summary"]
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return 0  # not yet
        finally:
            connection.close()
        return sum((node.get("raylet") or {}).get("state") == "ALIVE" for node in nodes)
