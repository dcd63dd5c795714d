from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nemo_runspec.rehearsal.plain_pods import (
    RUNAI,
    Client,
    distributed,
    new_twin,
    runai_client,
    runai_workload,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.twin import Twin

NAMESPACE = "/api/v1/namespaces/runai-one/pods"


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    twin, _ = new_twin(tmp_path / "twin", RUNAI)
    with twin:
        yield twin


@pytest.fixture
def client(twin: Twin) -> Client:
    return runai_client(twin)


@pytest.fixture
def kubernetes(twin: Twin, client: Client) -> Client:
    return Client(twin.kubernetes_url, str(client.session.headers["Authorization"]).removeprefix("Bearer "))


def test_pods_are_listed_with_how_they_stand(twin: Twin, client: Client, kubernetes: Client) -> None:
    body = runai_workload("two", "sh", "-c 'test ${HOSTNAME#*worker-} = 0'", **distributed(2))
    path = f"/workloads/{client.call('POST', '/workloads/distributed', body).json()['workloadId']}/pods"
    until(lambda: all(pod.exit_code is not None for pod in twin.workloads[0].pods) and bool(twin.workloads[0].pods))
    rows = client.get(path)["pods"]
    assert [row["name"] for row in rows] == ["two-worker-0", "two-worker-1"]
    assert rows[1]["k8sPhase"] == "Failed"
    page = client.get(f"{path}?limit=1")
    assert (len(page["pods"]), page["next"]) == (1, 1)
    items = kubernetes.get(NAMESPACE)["items"]
    assert [item["metadata"]["name"] for item in items] == ["two-worker-0", "two-worker-1"]
    assert items[1]["status"]["phase"] == "Failed"
    assert kubernetes.get(NAMESPACE.replace("one", "two"))["items"] == []


def test_a_log_is_followed_until_the_pod_ends(client: Client, kubernetes: Client, tmp_path: Path) -> None:
    script = f"-c 'echo first; until test -e {tmp_path}/go; do sleep 0.01; done; echo last'"
    client.call("POST", "/workloads/trainings", runai_workload("talks", "sh", script))
    path = f"{NAMESPACE}/talks-0-0/log"
    until(lambda: kubernetes.call("GET", path).text == "first\n")
    assert kubernetes.call("GET", f"{path}?limitBytes=3").text == "fir"
    with kubernetes.call("GET", f"{path}?follow=true&container=talks", stream=True) as reply:
        lines = reply.iter_lines()
        assert next(lines) == b"first"
        (tmp_path / "go").touch()
        assert list(lines) == [b"last"]


def test_a_log_of_a_pod_that_was_started_again_is_another_one(twin: Twin, client: Client, kubernetes: Client) -> None:
    body = runai_workload("again", "sh", "-c 'echo run; exit 1'", backoffLimit=1)
    client.call("POST", "/workloads/trainings", body)
    until(lambda: [pod.restarts for seen in twin.workloads for pod in seen.pods if pod.exit_code] == [1])
    assert kubernetes.call("GET", f"{NAMESPACE}/again-0-0/log?follow=true").text == "run\n"


def test_refusals_have_kubernetes_form(client: Client, kubernetes: Client, twin: Twin) -> None:
    missing = kubernetes.call("GET", f"{NAMESPACE}/none/log")
    assert (missing.status_code, missing.json()["reason"]) == (404, "NotFound")
    assert missing.json()["message"] == 'pods "none" not found'
    client.call("POST", "/workloads/trainings", runai_workload("there", "true"))
    until(lambda: kubernetes.call("GET", f"{NAMESPACE}/there-0-0/log").status_code == 200)
    for query in ("container=other", "timestamps=true", "sinceTime=2026-01-01T00:00:00Z", "tailLines=1"):
        reply = kubernetes.call("GET", f"{NAMESPACE}/there-0-0/log?{query}")
        assert (reply.status_code, reply.json()["kind"]) == (400, "Status"), query
    assert Client(twin.kubernetes_url, "x").call("GET", NAMESPACE).json()["reason"] == "Unauthorized"
    assert kubernetes.call("DELETE", f"{NAMESPACE}/there-0-0/log").status_code == 405
