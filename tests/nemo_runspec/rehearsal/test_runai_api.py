from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.rehearsal.inventory import RunaiInventory
from nemo_runspec.rehearsal.workloads import Timing
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
    from tests.nemo_runspec.rehearsal.plain_pods import PlainRunner


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[tuple[Twin, PlainRunner]]:
    twin, runner = new_twin(tmp_path / "twin", RUNAI)
    with twin:
        yield twin, runner


@pytest.fixture
def client(pods: tuple[Twin, PlainRunner]) -> Client:
    return runai_client(pods[0])


def create(client: Client, body: dict[str, Any], kind: str = "trainings") -> str:
    reply = client.call("POST", f"/workloads/{kind}", body)
    assert reply.status_code == 202, reply.text
    assert reply.json()["actualPhase"] in {"Creating", "Pending", "Initializing"}
    return f"/workloads/{kind}/{reply.json()['workloadId']}"


def phase(client: Client, path: str) -> str:
    return str(client.get(path)["actualPhase"])


def ended(client: Client, path: str) -> str:
    until(lambda: phase(client, path) in {"Completed", "Failed"})
    return phase(client, path)


def environments(runner: PlainRunner) -> dict[str, dict[str, str]]:
    return {pod.spec.name: dict(pod.spec.env) for pod in runner.pods}


def test_one_pod_runs_the_words_that_a_shell_would_make(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    twin, runner = pods
    args = '-c \'printf "%s\\n" "$HOSTNAME" "$A" "$(echo out)" ${RUNAI_PROJECT} $(A)\''
    variables = [
        {"name": "A", "value": "b  c"},
        {"name": "S", "secret": {"name": "hf", "key": "token"}},
        {"name": "RUNAI_PROJECT", "value": "mine"},
    ]
    path = create(client, runai_workload("one-pod", "sh", args, environmentVariables=variables))
    assert ended(client, path) == "Completed"
    (pod,) = twin.workloads[0].pods
    assert pod.log.read_text(encoding="utf-8") == "one-pod-0-0\nb  c\nout\none\nb\nc\n"
    environment = environments(runner)["one-pod-0-0"]
    identifier = path.rpartition("/")[2]
    assert (environment["S"], environment["RUNAI_PROJECT"]) == ("canary-of-the-store", "one")
    assert (environment["JOB_UUID"], environment["RUNAI_JOB_NAME"]) == (identifier, "one-pod")
    assert not [name for name in environment if name.startswith("PET_") or name == "MASTER_ADDR"]


def test_workers_without_a_master_get_an_elastic_rendezvous(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    variables = [{"name": "PET_NNODES", "value": "mine"}]
    path = create(
        client, runai_workload("two", "true", environmentVariables=variables, **distributed(2)), "distributed"
    )
    assert ended(client, path) == "Completed"
    found = environments(pods[1])
    assert list(found) == ["two-worker-0", "two-worker-1"]
    for name, environment in found.items():
        assert environment["HOSTNAME"] == name
        assert environment["PET_NNODES"] == "2:2"
        assert environment["PET_RDZV_ENDPOINT"] == "two-worker-0:23456"
        assert environment["PET_RDZV_BACKEND"] == "c10d"
        assert not {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "PET_NODE_RANK"} & set(environment)
    assert {"two-worker-0", "two-worker-1"} <= set(pods[1].pods[0].spec.hosts)


def test_with_a_master_there_is_one_pod_more_and_ranks_are_set(tmp_path: Path) -> None:
    twin, runner = new_twin(tmp_path, RUNAI, with_master=True)
    with twin:
        client = runai_client(twin)
        path = create(client, runai_workload("two", "true", **distributed(2)), "distributed")
        assert ended(client, path) == "Completed"
    found = environments(runner)
    assert list(found) == ["two-master-0", "two-worker-0", "two-worker-1"]
    assert [environment["RANK"] for environment in found.values()] == ["0", "1", "2"]
    for environment in found.values():
        assert environment["MASTER_ADDR"] == environment["PET_MASTER_ADDR"] == "two-master-0"
        assert environment["WORLD_SIZE"] == environment["PET_NNODES"] == "3"
        assert "PET_RDZV_ENDPOINT" not in environment


def test_a_workload_can_ask_for_a_master(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    body = {**runai_workload("asks", "true", **distributed(1)), "masterSpecSameAsWorker": True}
    assert ended(client, create(client, body, "distributed")) == "Completed"
    assert list(environments(pods[1])) == ["asks-master-0", "asks-worker-0"]


def test_failed_pods_are_started_again_up_to_the_limit(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    body = runai_workload("fails", "false")
    assert ended(client, create(client, body)) == "Failed"
    body = runai_workload("again", "false", backoffLimit=2)
    assert ended(client, create(client, body)) == "Failed"
    assert [seen.pods[0].restarts for seen in pods[0].workloads] == [0, 2]


def test_without_a_limit_there_are_six_restarts(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    assert ended(client, create(client, runai_workload("six", "false", backoffLimit=None))) == "Failed"
    assert len(pods[1].pods) == 7


def test_a_pod_that_recovers_lets_the_workload_complete(client: Client, tmp_path: Path) -> None:
    script = f"-c 'test -e {tmp_path}/second || {{ touch {tmp_path}/second; exit 1; }}'"
    assert ended(client, create(client, runai_workload("heals", "sh", script, backoffLimit=1))) == "Completed"


@pytest.mark.parametrize("kind", ["workspaces", "trainings", "distributed"])
def test_suspend_resume_and_delete_for_every_kind(pods: tuple[Twin, PlainRunner], client: Client, kind: str) -> None:
    more = distributed(1) if kind == "distributed" else {}
    path = create(client, runai_workload("sleeps", "sleep 100", **more), kind)
    until(lambda: phase(client, path) == "Running")
    assert client.call("GET", f"{path}/suspend").status_code == 405
    reply = client.call("POST", f"{path}/suspend")
    assert (reply.status_code, reply.json()["message"]) == (202, "Request has been accepted.")
    assert client.get(path)["desiredPhase"] == "Stopped"
    until(lambda: phase(client, path) == "Stopped")
    assert pods[1].pods[0].poll() == 143
    client.call("POST", f"{path}/resume")
    until(lambda: phase(client, path) == "Running")
    assert client.call("DELETE", path).status_code == 202
    until(lambda: client.call("GET", path).status_code == 404)
    assert [pod.poll() for pod in pods[1].pods] == [143, 143]
    assert client.call("DELETE", path).status_code == 404
    assert client.get("/workloads")["workloads"] == []
    assert [row["name"] for row in client.get("/workloads?deleted=true")["workloads"]] == ["sleeps"]


def test_a_workload_that_waits_can_be_suspended(tmp_path: Path) -> None:
    twin, runner = new_twin(tmp_path, RUNAI, timing=Timing(dwell_s=1000.0))
    with twin:
        client = runai_client(twin)
        path = create(client, runai_workload("queued", "true"))
        client.call("POST", f"{path}/suspend")
        assert phase(client, path) == "Stopping"
    assert runner.pods == []


def test_prefixes_become_names_and_names_are_unique_in_a_project(client: Client) -> None:
    body = {**runai_workload("job", "true"), "useGivenNameAsPrefix": True}
    names = {client.get(create(client, body))["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("job-") and len(name) == 9 for name in names)
    exact = runai_workload("exact", "true")
    create(client, exact)
    reply = client.call("POST", "/workloads/trainings", exact)
    assert (reply.status_code, reply.json()["message"]) == (409, "Resource with this name already exists")
    create(client, {**exact, "projectId": "1002"})


def test_a_refusal_tells_every_field(client: Client) -> None:
    body = runai_workload("Bad", "true", environmentVariables=[{"name": "A", "value": "x" * 10_001}])
    reply = client.call("POST", "/workloads/trainings", body)
    assert reply.status_code == 400
    assert [issue["field"] for issue in reply.json()["complianceIssues"]] == ["name", "environmentVariables[0].value"]


def test_a_field_that_is_written_wrong_is_refused(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    body = runai_workload("typo", "true", nodePool=["a100"])
    reply = client.call("POST", "/workloads/trainings", body)
    assert reply.status_code == 400
    assert reply.json()["complianceIssues"] == [{"field": "nodePool", "details": "is not a field of this object"}]
    assert pods[0].workloads == ()


def test_tokens_are_given_for_the_secret_only_and_expire(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, RUNAI, timing=Timing(token_s=0.2))
    with twin:
        client = runai_client(twin)
        token = client.session.headers["Authorization"]
        claims = str(token).split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == RUNAI.client_id
        until(lambda: client.call("GET", "/org-unit/projects").status_code == 401)
        body = {"grantType": "client_credentials", "clientID": RUNAI.client_id, "clientSecret": "wrong"}
        assert client.call("POST", "/token", body).status_code == 400
        assert client.call("POST", "/token", {"grantType": "client_credentials"}).status_code == 400
        assert client.call("POST", "/token", {**body, "grantType": "password"}).status_code == 400
        assert client.call("POST", "/token", {**body, "clientSecret": RUNAI.client_secret}).json()["expiresIn"] == 0
        assert Client(twin.url, "x").call("GET", "/workloads").json()["message"] == "Issuer is not familiar."


@pytest.mark.parametrize("names", [("appID", "appSecret"), ("AppId", "AppSecret")])
def test_the_deprecated_sign_in_is_taken(pods: tuple[Twin, PlainRunner], names: tuple[str, str]) -> None:
    client = Client(pods[0].url)
    values = dict(zip(names, (RUNAI.client_id, RUNAI.client_secret), strict=True))
    token = client.call("POST", "/token", {"grantType": "app_token", **values}).json()["accessToken"]
    assert Client(pods[0].url, token).get("/org-unit/projects")["projects"]
    for body in ({"grantType": "app_token"}, {"grantType": ["app_token"], **values}, {**values, names[1]: "wrong"}):
        assert client.call("POST", "/token", {"grantType": "app_token", **body}).status_code == 400
    assert client.call("POST", "/token", {"grantType": "client_credentials", **values}).status_code == 400


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials_are_answered_as_the_installation_does_it(tmp_path: Path, status: int) -> None:
    twin, _ = new_twin(tmp_path, replace(RUNAI, wrong_secret_status=status))
    with twin:
        body = {"grantType": "client_credentials", "clientId": RUNAI.client_id, "clientSecret": "wrong"}
        reply = Client(twin.url).call("POST", "/token", body)
        assert (reply.status_code, reply.json()["code"]) == (status, status)


def test_projects_come_in_pages_of_fifty(tmp_path: Path) -> None:
    many = RunaiInventory(client_secret=RUNAI.client_secret, projects=tuple(f"p{number}" for number in range(120)))
    twin, _ = new_twin(tmp_path, many)
    with twin:
        client = runai_client(twin)
        first = client.get("/org-unit/projects")
        assert (len(first["projects"]), first["next"]) == (50, 50)
        last = client.get("/org-unit/projects?offset=100&limit=500")
        assert (len(last["projects"]), "next" in last) == (20, False)
        (found,) = client.get("/org-unit/projects?filterBy=name==p77")["projects"]
        assert (found["name"], found["clusterId"]) == ("p77", many.cluster_id)
        assert client.call("GET", "/org-unit/projects?limit=501").status_code == 400
        assert client.call("GET", "/org-unit/projects?filterBy=colour==red").status_code == 400


def test_workloads_are_listed_with_filters(client: Client) -> None:
    path = create(client, runai_workload("listed", "true", **distributed(2)), "distributed")
    create(client, runai_workload("other", "true"))
    (row,) = client.get("/workloads?filterBy=name==listed&offset=0&limit=1")["workloads"]
    assert (row["id"], row["type"], row["projectName"]) == (path.rpartition("/")[2], "Distributed", "one")
    assert client.get("/workloads?filterBy=name==none")["workloads"] == []
    assert [row["name"] for row in client.get("/workloads?filterBy=type==Training,name=@the")["workloads"]] == ["other"]


def test_strange_paths_methods_and_kinds_are_refused(client: Client) -> None:
    path = create(client, runai_workload("strange", "true"))
    identifier = path.rpartition("/")[2]
    for method, target, status in (
        ("GET", f"/workloads/{identifier}", 403),
        ("GET", f"/workloads/distributed/{identifier}", 404),
        ("GET", "/workloads/trainings", 405),
        ("PUT", path, 405),
        ("GET", "/workloads/trainings/none", 404),
        ("POST", "/workloads/trainings/none/suspend", 404),
        ("GET", "/workloads/none/pods", 404),
        ("GET", "/nothing", 404),
    ):
        reply = client.call(method, target)
        assert (reply.status_code, reply.json()["code"]) == (status, status), (method, target)


def test_a_new_workloads_phase_may_be_unknown(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, RUNAI, timing=Timing(unknown_s=1000.0))
    with twin:
        client = runai_client(twin)
        reply = client.call("POST", "/workloads/trainings", runai_workload("new", "true"))
        assert reply.json()["actualPhase"] == "Unknown"


def test_it_runs_once_all_pods_are_ready(tmp_path: Path) -> None:
    twin, runner = new_twin(tmp_path, RUNAI, timing=Timing(ready_s=1000.0))
    with twin:
        client = runai_client(twin)
        path = create(client, runai_workload("slow", "sleep 100", **distributed(2)), "distributed")
        until(lambda: len(runner.pods) == 2)
        assert phase(client, path) == "Initializing"
