from __future__ import annotations

import http.client
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from nemo_runspec.rehearsal.faults import Fault, FaultKind
from nemo_runspec.rehearsal.server import BODY_LIMIT
from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, lepton_client, lepton_job, new_twin, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.twin import Twin
    from tests.nemo_runspec.rehearsal.plain_pods import Client


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    twin, _ = new_twin(tmp_path)
    with twin:
        yield twin


@pytest.fixture
def client(twin: Twin) -> Client:
    return lepton_client(twin)


def fault(twin: Twin, kind: FaultKind, **options: Any) -> None:  # noqa: ANN401 - a fault's own
    twin.faults.add(Fault(kind=kind, **options))


def statuses(twin: Twin) -> list[tuple[str, int, str]]:
    return [(request.method, request.status, request.fault) for request in twin.requests]


def test_only_the_loopback_interface_is_served(twin: Twin) -> None:
    assert twin.url.startswith("http://127.0.0.1:")


def test_one_connection_serves_many_requests(twin: Twin) -> None:
    address = urlsplit(twin.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    headers = {"Authorization": f"Bearer {LEPTON.token}"}
    for _ in range(3):
        connection.request("GET", f"{address.path}/jobs", headers=headers)
        reply = connection.getresponse()
        assert (reply.status, reply.version) == (200, 11)
        reply.read()
        assert connection.sock is not None
    connection.close()


def test_a_status_with_its_retry_after(twin: Twin, client: Client) -> None:
    fault(twin, FaultKind.STATUS, method="POST", path="*/jobs", status=429, retry_after=3)
    reply = client.call("POST", "/jobs", lepton_job("x", "true"))
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "3")
    assert reply.json()["code"] == "TooManyRequests"
    assert twin.workloads == ()
    assert client.call("POST", "/jobs", lepton_job("x", "true")).status_code == 201
    assert statuses(twin) == [("POST", 429, "status"), ("POST", 201, "")]


def test_a_late_answer(twin: Twin, client: Client) -> None:
    fault(twin, FaultKind.LATENCY, seconds=1000.0)
    with pytest.raises(requests.ReadTimeout):
        client.session.get(f"{twin.url}/jobs", timeout=0.1)


def test_an_answer_that_stops_in_its_middle(twin: Twin, client: Client) -> None:
    fault(twin, FaultKind.STALL)
    with pytest.raises(requests.ConnectionError, match="timed out"):
        client.session.get(f"{twin.url}/dedicated-node-groups", timeout=0.1)
    assert statuses(twin) == [("GET", 200, "stall")]


def test_a_reset_before_anything_is_done(twin: Twin, client: Client) -> None:
    fault(twin, FaultKind.RESET_BEFORE, times=2)
    with pytest.raises(requests.ConnectionError):
        client.call("POST", "/jobs", lepton_job("x", "true"))
    # Seen without a library in between, which may take a reset while it sends for an end while it receives.
    address = urlsplit(twin.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"GET {address.path}/jobs HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert twin.workloads == ()
    assert statuses(twin) == [("POST", 0, "reset before"), ("GET", 0, "reset before")]


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.DROP_REPLY])
def test_an_answer_that_is_lost_after_the_work_is_done(twin: Twin, client: Client, kind: FaultKind) -> None:
    fault(twin, kind)
    with pytest.raises(requests.ConnectionError):
        client.call("POST", "/jobs", lepton_job("x", "true"))
    assert [seen.name for seen in twin.workloads] == ["x"]
    assert statuses(twin) == [("POST", 0, kind.value)]


def test_a_body_that_is_too_large_is_refused_and_the_answer_arrives(twin: Twin, client: Client) -> None:
    body = lepton_job("x", "true", envs=[{"name": "A", "value": "x" * BODY_LIMIT}])
    reply = client.call("POST", "/jobs", body)
    assert (reply.status_code, twin.workloads) == (413, ())
    assert "too large" in reply.json()["message"]


def test_a_body_of_unknown_length_is_refused(twin: Twin, client: Client) -> None:
    reply = client.session.post(f"{twin.url}/jobs", data=iter([b"{}"]), timeout=10)
    assert reply.status_code == 411


def test_closing_ends_streams_stalls_idle_connections_and_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    twin, runner = new_twin(tmp_path)
    twin.start()
    client = lepton_client(twin)
    client.call("POST", "/jobs", lepton_job("talks", "sh", "-c", "echo here; exec sleep 100"))
    until(lambda: bool(client.get("/jobs/talks/replicas")))
    replica = client.get("/jobs/talks/replicas")[0]["id"]
    stream = client.call("GET", f"/jobs/talks/replicas/{replica}/log", stream=True)
    assert next(stream.iter_lines()) == b"here"
    address = urlsplit(twin.url)
    with socket.create_connection((address.hostname, address.port)):
        twin.faults.add(Fault(kind=FaultKind.STALL))
        stalled = http.client.HTTPConnection(address.netloc, timeout=10)
        stalled.request("GET", f"{address.path}/jobs", headers={"Authorization": f"Bearer {LEPTON.token}"})
        assert stalled.getresponse().status == 200
        twin.close()
        twin.close()
    stalled.close()
    stream.close()
    client.session.close()
    assert set(threading.enumerate()) == before
    assert [pod.poll() for pod in runner.pods] == [143]
    assert runner.is_closed
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port))


def test_a_twin_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    twin, runner = new_twin(tmp_path)
    twin.close()
    assert runner.is_closed


def test_many_clients_at_once(twin: Twin) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            client = lepton_client(twin)
            for turn in range(5):
                name = f"job-{number}-{turn}"
                assert client.call("POST", "/jobs", lepton_job(name, "true")).status_code == 201
                assert client.get(f"/jobs/{name}")["metadata"]["id"] == name
            client.session.close()
        except BaseException as error:  # noqa: BLE001 - whatever fails in a thread is told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({seen.name for seen in twin.workloads}) == 40
    assert len(twin.requests) == 80
