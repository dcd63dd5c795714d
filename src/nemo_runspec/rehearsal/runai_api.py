"""run:ai's API, as far as workloads need it, and the log route of its cluster's Kubernetes API.

The routes are those of run:ai's public OpenAPI (https://docs.nvidia.com/run-ai/), which has none for logs.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.rehearsal.cluster import NameTakenError
from nemo_runspec.rehearsal.exchange import Call, Refusal, Reply, Route
from nemo_runspec.rehearsal.pod_api import KUBERNETES, PodApi, kubernetes_status
from nemo_runspec.rehearsal.runai_pods import Accepted, workload_pods
from nemo_runspec.rehearsal.runai_rules import DEFAULT_RETRIES, KINDS, workload_issues
from nemo_runspec.rehearsal.workloads import Order, Phase, random_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nemo_runspec.rehearsal.cluster import Cluster
    from nemo_runspec.rehearsal.inventory import RunaiInventory
    from nemo_runspec.rehearsal.rules import Table
    from nemo_runspec.rehearsal.workloads import Timing, WorkloadSeen

BASE: Final = "/api/v1"
_WORDS: Final = {
    Phase.RETRYING: "Degraded",
    Phase.RESTARTING: "Degraded",
    Phase.STOPPING: "Stopping",
    Phase.STOPPED: "Stopped",
    Phase.COMPLETED: "Completed",
    Phase.FAILED: "Failed",
    Phase.DELETING: "Deleting",
}
_DESIRED: Final = {Phase.STOPPING: "Stopped", Phase.STOPPED: "Stopped", Phase.DELETING: "Deleted"}
_TYPES: Final = {"workspaces": "Workspace", "trainings": "Training", "distributed": "Distributed"}
_GRANTS: Final = {
    "client_credentials": (("clientId", "clientID"), ("clientSecret",)),
    "app_token": (("appID", "AppId", "appId"), ("appSecret", "AppSecret")),
}
"""Kind of sign-in -> how its two values may be spelled. `app_token` is deprecated, and still taken."""
_PAGE: Final = 50
_LONGEST_PAGE: Final = 500
_OPERATORS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=@": lambda value, wanted: wanted in value,
    "=^": lambda value, wanted: value.startswith(wanted),
    "=$": lambda value, wanted: value.endswith(wanted),
}


class RunaiApi:
    """Answers the calls of one tenant.

    Args:
        inventory: What exists.
        cluster: Runs the workloads.
        folder: The twin's folder.
        timing: How long things take.
        with_master: Whether the installation gives every distributed workload a master besides its workers.
    """

    def __init__(
        self, inventory: RunaiInventory, cluster: Cluster, folder: Path, timing: Timing, *, with_master: bool
    ) -> None:
        """Build the table of routes."""
        self._inventory = inventory
        self._cluster = cluster
        self._folder = folder
        self._timing = timing
        self._with_master = with_master
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}
        self._claims: set[tuple[str, str]] = set()
        routes = [
            Route("POST", f"{BASE}/token", self._token, is_open=True),
            Route("GET", f"{BASE}/org-unit/projects", self._projects),
            Route("GET", f"{BASE}/workloads", self._list),
            Route("GET", f"{BASE}/workloads/{{id}}", self._generic),
        ]
        for kind in KINDS:
            path = f"{BASE}/workloads/{kind}"
            routes += [
                Route("POST", path, self._creator(kind)),
                Route("GET", f"{path}/{{id}}", self._getter(kind)),
                Route("DELETE", f"{path}/{{id}}", self._changer(kind, cluster.delete)),
                Route("POST", f"{path}/{{id}}/suspend", self._changer(kind, cluster.stop)),
                Route("POST", f"{path}/{{id}}/resume", self._changer(kind, cluster.resume)),
            ]
        self._routes = (*routes, *PodApi(inventory, cluster, BASE).routes)

    @property
    def routes(self) -> tuple[Route, ...]:
        """Everything that is documented of projects, workloads and pods."""
        return self._routes

    def authorise(self, call: Call) -> None:
        """Accept tokens that were given out and have not expired."""
        with self._lock:
            expires = self._tokens.get(call.bearer, 0.0)
        if time.time() >= expires:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Issuer is not familiar.")

    def refusal(self, call: Call, refusal: Refusal) -> Reply:
        """Give run:ai's form, with the issues by field; below `/k8s` Kubernetes' own."""
        if call.path.startswith(KUBERNETES):
            return Reply(refusal.status, kubernetes_status(refusal))
        body: dict[str, Any] = {"code": refusal.status, "message": refusal.message}
        if refusal.issues:
            body["complianceIssues"] = [
                {"field": field, "details": problem} for field, problem in refusal.issues.items()
            ]
        return Reply(refusal.status, body)

    def _token(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        client, secret = _credentials(call.json())
        expected = f"{self._inventory.client_id}\0{self._inventory.client_secret}"
        if not secrets.compare_digest(f"{client}\0{secret}".encode(), expected.encode()):
            message = "Invalid client or Invalid client credentials"
            raise Refusal(self._inventory.wrong_secret_status, message)
        issued = time.time()
        token = _jwt({"iss": "rehearsal", "sub": client, "iat": int(issued), "exp": issued + self._timing.token_s})
        with self._lock:
            self._tokens = {old: expires for old, expires in self._tokens.items() if expires > issued}
            self._tokens[token] = issued + self._timing.token_s
        return Reply(HTTPStatus.OK, {"accessToken": token, "expiresIn": int(self._timing.token_s)})

    def _projects(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        rows = [
            {
                "id": key,
                "name": name,
                "clusterId": self._inventory.cluster_id,
                "status": {"phase": "Ready", "namespace": f"runai-{name}"},
            }
            for key, name in self._inventory.project_ids().items()
        ]
        return _page(call, "projects", rows)

    def _list(self, call: Call, parts: Mapping[str, str]) -> Reply:
        del parts
        deleted = call.flag("deleted")
        rows = [
            {
                "id": seen.id,
                "name": seen.name,
                "type": _TYPES[seen.kind],
                "phase": self._phase(seen),
                "projectId": seen.body["projectId"],
                "projectName": seen.order.facts["project"],
                "clusterId": seen.body["clusterId"],
                "namespace": f"runai-{seen.order.facts['project']}",
                "createdAt": _timestamp(seen.created_s),
                "runningPods": sum(pod.is_ready for pod in seen.pods),
            }
            for seen in reversed(self._cluster.workloads())
            if seen.phase.is_gone is deleted
        ]
        return _page(call, "workloads", rows)

    def _generic(self, call: Call, parts: Mapping[str, str]) -> Reply:
        """Refuse what service accounts are refused; the kind's own route is the one to use."""
        del call, parts
        raise Refusal(HTTPStatus.FORBIDDEN, "You do not have sufficient permissions.")

    def _creator(self, kind: str) -> Callable[[Call, Mapping[str, str]], Reply]:
        def create(call: Call, parts: Mapping[str, str]) -> Reply:
            del parts
            body = call.json()
            with self._lock:
                issues = workload_issues(kind, body, self._inventory, self._claims)
            if issues:
                raise Refusal(HTTPStatus.BAD_REQUEST, "The workload is not valid.", issues)
            return Reply(HTTPStatus.ACCEPTED, self._workload(self._create(kind, body)))

        return create

    def _create(self, kind: str, body: Table) -> WorkloadSeen:
        spec = body["spec"]
        is_prefix = body.get("useGivenNameAsPrefix") is True
        has_master = self._with_master or body.get("masterSpecSameAsWorker") is True or bool(body.get("masterSpec"))
        accepted = Accepted(
            id=str(uuid.uuid4()),
            name=f"{body['name']}-{random_letters(5)}" if is_prefix else body["name"],
            kind=kind,
            project=self._inventory.project_ids()[body["projectId"]],
            spec=spec,
            with_master=kind == "distributed" and has_master,
        )
        restarts = spec.get("backoffLimit")
        order = Order(
            id=accepted.id,
            name=accepted.name,
            scope=body["projectId"],
            kind=kind,
            body=body,
            pods=workload_pods(accepted, self._inventory, self._folder),
            waiting=("Creating", "Pending", "Initializing"),
            resuming=("Resuming", "Initializing"),
            restarts=DEFAULT_RETRIES if restarts is None else restarts,
            facts={"project": accepted.project},
        )
        try:
            seen = self._cluster.create(order)
        except NameTakenError as error:
            raise Refusal(HTTPStatus.CONFLICT, "Resource with this name already exists") from error
        claims = (spec.get("storage") or {}).get("pvc") or ()
        with self._lock:
            self._claims |= {(body["projectId"], claim["claimName"]) for claim in claims if claim.get("claimName")}
        return seen

    def _getter(self, kind: str) -> Callable[[Call, Mapping[str, str]], Reply]:
        def get(call: Call, parts: Mapping[str, str]) -> Reply:
            del call
            return Reply(HTTPStatus.OK, self._workload(self._known(kind, parts)))

        return get

    def _changer(self, kind: str, change: Callable[[int], None]) -> Callable[[Call, Mapping[str, str]], Reply]:
        def apply(call: Call, parts: Mapping[str, str]) -> Reply:
            del call
            change(self._known(kind, parts).key)
            return Reply(HTTPStatus.ACCEPTED, {"code": 202, "message": "Request has been accepted."})

        return apply

    def _known(self, kind: str, parts: Mapping[str, str]) -> WorkloadSeen:
        seen = self._cluster.find(parts["id"])
        if seen is None or seen.phase.is_gone or seen.kind != kind:
            raise Refusal(HTTPStatus.NOT_FOUND, "Resource id not found.")
        return seen

    def _phase(self, seen: WorkloadSeen) -> str:
        if time.time() < seen.created_s + self._timing.unknown_s:
            return "Unknown"
        if seen.phase is Phase.RUNNING:
            return "Running" if seen.was_ready else "Initializing"
        return _WORDS.get(seen.phase, seen.word or "Deleting")

    def _workload(self, seen: WorkloadSeen) -> dict[str, Any]:
        return {
            "name": seen.name,
            "requestedName": seen.body["name"],
            "workloadId": seen.id,
            "projectId": seen.body["projectId"],
            "clusterId": seen.body["clusterId"],
            "createdBy": "API",
            "createdAt": _timestamp(seen.created_s),
            "deletedAt": None,
            "desiredPhase": _DESIRED.get(seen.phase, "Running"),
            "actualPhase": self._phase(seen),
            "spec": seen.body["spec"],
        }


def _credentials(body: Table) -> tuple[str, str]:
    """Give an application's name and its secret; each may be spelled as the platform's pages have it."""
    grant = body.get("grantType")
    if not isinstance(grant, str) or grant not in _GRANTS:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"grantType must be one of {', '.join(_GRANTS)}")
    found = [next((body[name] for name in names if name in body), None) for names in _GRANTS[grant]]
    if not all(isinstance(value, str) for value in found):
        needed = " and ".join(names[0] for names in _GRANTS[grant])
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{needed} are needed")
    return str(found[0]), str(found[1])


def _page(call: Call, name: str, rows: list[dict[str, Any]]) -> Reply:
    """Give the page of a list that is asked for, after its filters."""
    offset, limit = call.number("offset", 0), call.number("limit", _PAGE, least=1, most=_LONGEST_PAGE)
    conditions = [text for value in call.query.get("filterBy", []) for text in value.split(",")]
    found = [row for row in rows if all(_holds(text, row) for text in conditions)]
    search = call.parameter("search")
    found = [row for row in found if search in row["name"]]
    following = {"next": offset + limit} if len(found) > offset + limit else {}
    return Reply(HTTPStatus.OK, {name: found[offset : offset + limit], **following})


def _holds(condition: str, row: Mapping[str, Any]) -> bool:
    for operator, compare in _OPERATORS.items():
        field, found, wanted = condition.partition(operator)
        if found and field in row:
            return compare(str(row[field]), wanted)
    raise Refusal(HTTPStatus.BAD_REQUEST, f"filterBy '{condition}' is none that is known")


def _timestamp(when_s: float) -> str:
    return datetime.fromtimestamp(when_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _jwt(claims: Mapping[str, Any]) -> str:
    """Give a token of the usual form, whose expiry clients can read; the signature is only random."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    )
    return f"{head}.{body}.{secrets.token_urlsafe(32)}"
