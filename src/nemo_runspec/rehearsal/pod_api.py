"""Pods of run:ai's workloads: its own list of them, and the Kubernetes API of the cluster, which has their logs.

Sources: https://docs.nvidia.com/run-ai/self-hosted/reference/rest-api/endpoints/workloads/pods/get-workload-pods and
https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/#read-log-pod-v1-core.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.rehearsal.exchange import Call, Refusal, Reply, Route
from nemo_runspec.rehearsal.logs import stream_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.rehearsal.cluster import Cluster
    from nemo_runspec.rehearsal.inventory import RunaiInventory
    from nemo_runspec.rehearsal.workloads import PodSeen, WorkloadSeen

KUBERNETES: Final = "/k8s"
"""Where the Kubernetes API is on a twin."""

_PAGE: Final = 50
_LONGEST_PAGE: Final = 500
_UNANSWERED: Final = ("previous", "sinceSeconds", "sinceTime", "tailLines", "timestamps")
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class PodApi:
    """Answers what is asked about pods.

    Args:
        inventory: What exists.
        cluster: Runs the pods.
        base: The path of run:ai's own API.
    """

    def __init__(self, inventory: RunaiInventory, cluster: Cluster, base: str) -> None:
        """Build the table of routes."""
        self._inventory = inventory
        self._cluster = cluster
        pods = f"{KUBERNETES}/api/v1/namespaces/{{namespace}}/pods"
        self.routes = (
            Route("GET", f"{base}/workloads/{{id}}/pods", self._workload_pods),
            Route("GET", pods, self._namespace_pods),
            Route("GET", f"{pods}/{{pod}}/log", self._log),
        )

    def _workload_pods(self, call: Call, parts: Mapping[str, str]) -> Reply:
        seen = self._cluster.find(parts["id"])
        if seen is None or seen.phase.is_gone:
            raise Refusal(HTTPStatus.NOT_FOUND, "Resource id not found.")
        offset = call.number("offset", 0)
        limit = call.number("limit", _PAGE, least=1, most=_LONGEST_PAGE)
        rows = [
            {
                "name": pod.name,
                "workloadId": seen.id,
                "projectId": seen.body["projectId"],
                "clusterId": seen.body["clusterId"],
                "k8sPhase": _phase(pod),
                "currentNode": f"node-{pod.index}",
                "containers": [{"name": _container(seen), "restarts": pod.restarts, "exitCode": pod.exit_code}],
            }
            for pod in seen.pods
        ]
        following = {"next": offset + limit} if len(rows) > offset + limit else {}
        return Reply(HTTPStatus.OK, {"pods": rows[offset : offset + limit], **following})

    def _namespace_pods(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del call
        items = [
            {
                "metadata": {
                    "name": pod.name,
                    "namespace": parts["namespace"],
                    "labels": {"workloadName": seen.name, "runai/job-name": seen.name},
                },
                "status": {"phase": _phase(pod)},
            }
            for seen, pod in self._pods(parts["namespace"])
        ]
        return Reply(HTTPStatus.OK, {"kind": "PodList", "apiVersion": "v1", "items": items})

    def _log(self, call: Call, parts: Mapping[str, str]) -> Reply:
        name = parts["pod"]
        found = next((pair for pair in self._pods(parts["namespace"]) if pair[1].name == name), None)
        if found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f'pods "{name}" not found')
        seen, pod = found
        container = call.parameter("container", _container(seen))
        if container != _container(seen):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"container {container} is not valid for pod {name}")
        if unanswered := [parameter for parameter in _UNANSWERED if parameter in call.query]:
            message = f"a rehearsal gives a log from its beginning and without times, not by {', '.join(unanswered)}"
            raise Refusal(HTTPStatus.BAD_REQUEST, message)
        if not pod.is_started:
            message = f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
            raise Refusal(HTTPStatus.BAD_REQUEST, message)
        limit = call.number("limitBytes", 0, least=1) if "limitBytes" in call.query else None
        pieces = stream_log(self._cluster, seen, pod, follow=call.flag("follow"))
        return Reply(HTTPStatus.OK, stream=pieces if limit is None else _limited(pieces, limit))

    def _pods(self, namespace: str) -> list[tuple[WorkloadSeen, PodSeen]]:
        """Give the pods of a namespace that exist, those of the newest workload first."""
        return [
            (seen, pod)
            for seen in reversed(self._cluster.workloads())
            if f"runai-{seen.order.facts['project']}" == namespace and not seen.phase.is_gone
            for pod in seen.pods
        ]


def kubernetes_status(refusal: Refusal) -> dict[str, Any]:
    """Give a refusal in Kubernetes' form."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": _REASONS.get(refusal.status, "Unknown"),
        "code": refusal.status,
    }


def _container(seen: WorkloadSeen) -> str:
    """Give the name of the container: the training operator's for its pods, else the workload's."""
    return "pytorch" if seen.kind == "distributed" else seen.name


def _phase(pod: PodSeen) -> str:
    if pod.exit_code is not None:
        return "Failed" if pod.exit_code else "Succeeded"
    return "Running" if pod.is_started else "Pending"


def _limited(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Give no more bytes than were asked for."""
    left = limit
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
