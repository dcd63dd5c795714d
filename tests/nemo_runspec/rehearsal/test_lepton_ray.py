"""Lepton's Ray clusters on a twin whose pods are a stand-in for Ray's dashboard; tests/clusters has a real one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.rehearsal import lepton_ray
from tests.nemo_runspec.rehearsal.plain_pods import Client, PlainRunner, lepton_client, new_twin, ray_cluster, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Dashboard(BaseHTTPRequestHandler):
    """Says that as many nodes are alive as the test wants, and repeats what it was asked."""

    alive = 0
    down = False

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = f"{self.command} {self.path} {self.headers.get('Authorization')} {self.rfile.read(length).decode()}"
        node = {"raylet": {"state": "ALIVE"}}
        content = {"data": {"summary": [node] * self.alive}, "said": said}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815 - the standard library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Dashboard]]:
    class Handler(_Dashboard):
        """One test's own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(lepton_ray, "DASHBOARD_PORT", server.server_address[1])
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemo_runspec.rehearsal.lepton_ray_rules._command", lambda *_: "exec sleep 60")


@pytest.fixture
def client(tmp_path: Path, dashboard: type[_Dashboard], pods: None) -> Iterator[Client]:
    del dashboard, pods
    twin, _ = new_twin(tmp_path)
    with twin:
        yield lepton_client(twin)


def state(client: Client, name: str = "mine") -> str:
    return str(client.get(f"/rayclusters/{name}")["status"]["state"])


def made(client: Client, name: str = "mine") -> None:
    assert client.call("POST", "/rayclusters", ray_cluster(name)).status_code == 201


def test_a_cluster_is_ready_when_all_nodes_of_ray_are(client: Client, dashboard: type[_Dashboard]) -> None:
    made(client)
    until(lambda: state(client) == "Not Ready")
    dashboard.alive = 1
    assert state(client) == "Not Ready"
    dashboard.alive = 2
    assert state(client) == "Ready"
    dashboard.alive = 0
    assert state(client) == "Ready", "until a pod ends"
    assert client.get("/rayclusters/mine")["status"]["readyWorkerReplicas"] == 1


def test_a_name_is_taken_once_and_clusters_are_no_jobs(client: Client) -> None:
    made(client)
    assert client.call("POST", "/rayclusters", ray_cluster("mine")).status_code == 409
    assert [row["metadata"]["id"] for row in client.get("/rayclusters")] == ["mine"]
    assert client.get("/jobs?job_query_mode=alive_and_archive")["jobs"] == []
    assert client.call("GET", "/jobs/mine").status_code == 404
    assert client.call("POST", "/rayclusters", {"metadata": {"id": "X"}, "spec": {}}).status_code == 400


def test_a_cluster_is_suspended_resumed_and_deleted(client: Client, dashboard: type[_Dashboard]) -> None:
    dashboard.alive = 2
    made(client)
    until(lambda: state(client) == "Ready")
    assert client.call("PATCH", "/rayclusters/mine", {"spec": {"suspend": True}}).status_code == 200
    until(lambda: state(client) == "Stopped")
    assert client.get("/rayclusters/mine")["spec"]["suspend"] is True
    assert client.call("GET", "/rayclusters/mine/dashboard/api/version").status_code == 503
    assert client.call("PATCH", "/rayclusters/mine", {"spec": {"suspend": False}}).status_code == 200
    until(lambda: state(client) == "Ready")
    assert client.call("DELETE", "/rayclusters/mine").status_code == 200
    until(lambda: client.call("GET", "/rayclusters/mine").status_code == 404)
    assert client.get("/rayclusters") == []


@pytest.mark.parametrize(
    "body", [{}, {"spec": {}}, {"spec": {"suspend": 1}}, {"spec": {"suspend": True, "image": "x"}}]
)
def test_nothing_else_of_a_cluster_is_changed(client: Client, body: dict[str, object]) -> None:
    made(client)
    assert client.call("PATCH", "/rayclusters/mine", body).status_code == 400


def test_the_dashboard_is_reached_below_the_cluster(client: Client, dashboard: type[_Dashboard]) -> None:
    dashboard.alive = 2
    made(client)
    until(lambda: state(client) == "Ready")
    reply = client.session.put(f"{client.url}/rayclusters/mine/dashboard/api/x%20y?z=1", data=b"content", timeout=5)
    assert reply.json()["said"] == "PUT /api/x%20y?z=1 None content", "without the workspace's token"
    assert Client(client.url, "wrong").call("GET", "/rayclusters/mine/dashboard/api").status_code == 401
    assert client.call("GET", "/rayclusters/other/dashboard/api").status_code == 404


def test_a_head_that_does_not_listen_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made(client)
    until(lambda: state(client) == "Not Ready")

    def refuse(_runner: PlainRunner, _network: str, _port: int) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(PlainRunner, "connection", refuse)
    reply = client.call("GET", "/rayclusters/mine/dashboard/api/version")
    assert (reply.status_code, "does not answer" in reply.json()["message"]) == (502, True)
