from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.rehearsal.workloads import Timing
from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, lepton_client, lepton_job, new_twin, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.twin import Twin
    from tests.nemo_runspec.rehearsal.plain_pods import Client, PlainRunner

SLEEP = ("sleep", "100")


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[tuple[Twin, PlainRunner]]:
    twin, runner = new_twin(tmp_path / "twin")
    with twin:
        yield twin, runner


@pytest.fixture
def client(pods: tuple[Twin, PlainRunner]) -> Client:
    return lepton_client(pods[0])


def state(client: Client, job: str, mode: str = "alive_and_archive") -> str:
    return str(client.get(f"/jobs/{job}?job_query_mode={mode}")["status"]["state"])


def run(client: Client, body: dict[str, Any]) -> str:
    """Create a job, wait for its end, and give the state it ended in."""
    name = body["metadata"]["id"]
    reply = client.call("POST", "/jobs", body)
    assert reply.status_code == 201, reply.text
    until(lambda: state(client, name) in {"Completed", "Failed"})
    return state(client, name)


def log(client: Client, job: str, index: int = 0) -> str:
    replicas = client.get(f"/jobs/{job}/replicas")
    return client.call("GET", f"/jobs/{job}/replicas/{replicas[index]['id']}/log").text


def test_a_job_of_two_pods_runs_with_the_platforms_variables(
    pods: tuple[Twin, PlainRunner], client: Client, tmp_path: Path
) -> None:
    twin, runner = pods
    script = 'printf "%s\\n" "$HOSTNAME" "$LEPTON_JOB_WORKER_INDEX/$LEPTON_JOB_TOTAL_WORKERS" "$A" \'$(A) $(no such)\' '
    mounts = [
        {"path": "/sub", "mount_path": "/mnt/nfs/deep", "from": "node-nfs:shared"},
        {"path": "/", "mount_path": "/mnt/disk", "from": "node-local", "mount_options": {"read_only": True}},
        {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"},
    ]
    envs = [{"name": "A", "value": "é b"}, {"name": "S", "value_from": {"secret_name_ref": "hf"}}]
    body = lepton_job("two-pods", "sh", "-c", script + '"$S"', nodes=2, envs=envs, mounts=mounts)
    assert run(client, body) == "Completed"
    for index, pod in enumerate(twin.workloads[0].pods):
        assert pod.name.startswith(f"two-pods-{index}-")
        assert pod.exit_code == 0
        text = f"{pod.name}\n{index}/2\né b\né b $(no such)\ncanary-of-the-store\n"
        assert log(client, "two-pods", index) == text
        assert pod.log.read_text(encoding="utf-8") == text
    environment = dict(runner.pods[1].spec.env)
    assert environment["LEPTON_SUBDOMAIN"] == "two-pods-job-svc"
    assert environment["LEPTON_RESOURCE_ACCELERATOR_NUM"] == "8"
    assert not {"MASTER_ADDR", "NODE_RANK", "WORLD_SIZE"} & set(environment)
    assert {"worker-0.two-pods-job-svc", "worker-1.two-pods-job-svc"} <= set(runner.pods[0].spec.hosts)
    volumes = tmp_path / "twin" / "volumes"
    found = [(mount.source.relative_to(volumes).as_posix(), mount.target) for mount in runner.pods[1].spec.mounts]
    assert found == [
        ("node-local/two-pods/1", "/mnt/disk"),
        ("node-nfs:shared", "/mnt/nfs"),
        ("node-nfs:shared/sub", "/mnt/nfs/deep"),
    ]
    assert [mount.read_only for mount in runner.pods[1].spec.mounts] == [True, False, False]
    assert runner.released == ["two-pods"]


def test_pods_do_not_find_each_other_unless_the_job_asks_for_it(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    run(client, lepton_job("alone", "true", nodes=2, intra_job_communication=None))
    assert not [host for host in pods[1].pods[0].spec.hosts if host.startswith("worker-")]


def test_a_failure_ends_the_other_pods_and_the_job(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    script = 'test "$LEPTON_JOB_WORKER_INDEX" = 0 && exec sleep 100; exit 7'
    assert run(client, lepton_job("fails", "sh", "-c", script, nodes=2)) == "Failed"
    assert [pod.exit_code for pod in pods[0].workloads[0].pods] == [143, 7]
    assert [pod.was_stopped for pod in pods[0].workloads[0].pods] == [True, False]
    status = client.get("/jobs/fails")["status"]
    assert (status["ready"], status["active"], status["failed"], status["succeeded"]) == (0, 0, 2, 0)
    assert status["completion_time"] >= status["creation_time"]


def test_a_failed_pod_is_started_again_as_often_as_the_job_says(
    pods: tuple[Twin, PlainRunner], client: Client, tmp_path: Path
) -> None:
    script = f"echo run >> {tmp_path}/runs; exit 3"
    assert run(client, lepton_job("again", "sh", "-c", script, max_failure_retry=2)) == "Failed"
    assert (tmp_path / "runs").read_text(encoding="utf-8") == "run\n" * 3
    assert pods[0].workloads[0].pods[0].restarts == 2
    reasons = [event["reason"] for event in client.get("/jobs/again/events")]
    assert reasons == ["Queueing", *("Running", "PendingRetry", "Restarting") * 2, "Running", "Failed"]
    history = client.get("/jobs/again")["status"]["job_history"]
    assert [(run["state"], run["failed"], run["active"]) for run in history] == [("Failed", 1, 0)] * 2
    assert history[0]["creation_time"] <= history[0]["completion_time"] <= history[1]["creation_time"]


def test_a_retry_is_pending_before_it_starts(tmp_path: Path) -> None:
    script = f"test -e {tmp_path}/ran && exec sleep 100; touch {tmp_path}/ran; exit 3"
    timing = Timing(dwell_s=0.2, ready_s=1000.0)
    twin, _ = new_twin(tmp_path / "twin", timing=timing)
    seen: list[str] = []
    with twin:
        client = lepton_client(twin)
        client.call("POST", "/jobs", lepton_job("once", "sh", "-c", script, max_failure_retry=1))

        def starts() -> bool:
            now = state(client, "once")
            seen.extend([now] if seen[-1:] != [now] else [])
            return "Restarting" in seen and now == "Starting"

        until(starts)
        status = client.get("/jobs/once")["status"]
        assert (status["ready"], status["active"], len(status["job_history"])) == (0, 1, 1)
    assert seen[-3:] == ["PendingRetry", "Restarting", "Starting"]


def test_the_history_has_the_runs_before_the_latest(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    client.call("POST", "/jobs", lepton_job("long", *SLEEP))
    until(lambda: state(client, "long") == "Running")
    client.call("PATCH", "/jobs/long", {"spec": {"stopped": True}})
    until(lambda: state(client, "long") == "Stopped")
    assert client.get("/jobs/long")["status"]["job_history"] == []
    client.call("PATCH", "/jobs/long", {"spec": {"stopped": False}})
    until(lambda: len(pods[1].pods) == 2 and state(client, "long") == "Running")
    (run_before,) = client.get("/jobs/long")["status"]["job_history"]
    assert (run_before["job_name"], run_before["state"]) == ("long", "Stopped")


def test_what_the_kernel_refuses_is_accepted_and_fails_in_the_pod(client: Client) -> None:
    assert run(client, lepton_job("long", "sh", "-c", "#" * 131_072)) == "Failed"
    assert log(client, "long") == "exec sh: argument list too long\n"


def test_a_job_is_running_before_all_its_pods_are_ready(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, timing=Timing(ready_s=1000.0))
    with twin:
        client = lepton_client(twin)
        client.call("POST", "/jobs", lepton_job("slow", *SLEEP, nodes=2))
        until(lambda: state(client, "slow") == "Running")
        status = client.get("/jobs/slow")["status"]
        assert (status["ready"], status["active"]) == (0, 2)


def test_a_new_jobs_state_may_not_be_told(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, timing=Timing(unknown_s=1000.0))
    with twin:
        client = lepton_client(twin)
        assert client.call("POST", "/jobs", lepton_job("new", "true")).json()["status"] is None
        assert client.get("/jobs/new")["status"] is None


def test_a_job_that_waits_can_be_stopped_and_never_has_pods(tmp_path: Path) -> None:
    twin, runner = new_twin(tmp_path, timing=Timing(dwell_s=1000.0))
    with twin:
        client = lepton_client(twin)
        client.call("POST", "/jobs", lepton_job("queued", *SLEEP))
        later = lepton_job("later", *SLEEP, time_schedule={"start_at": int(time.time()) + 1000})
        client.call("POST", "/jobs", later)
        assert (state(client, "queued"), state(client, "later")) == ("Queueing", "Awaiting")
        assert client.call("DELETE", "/jobs/queued").status_code == 200
        assert state(client, "queued") == "Deleting"
        assert client.call("PATCH", "/jobs/later", {"spec": {"stopped": True}}).json()["status"]["state"] == "Stopping"
    assert runner.pods == []


def test_stop_start_and_delete(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    client.call("POST", "/jobs", lepton_job("long", *SLEEP))
    until(lambda: state(client, "long") == "Running")
    assert client.call("PATCH", "/jobs/long", {"spec": {"stopped": True}}).json()["status"]["state"] == "Stopping"
    until(lambda: state(client, "long") == "Stopped")
    assert client.get("/jobs/long")["status"]["failed"] == 0
    assert pods[1].pods[0].poll() == 143
    client.call("PATCH", "/jobs/long", {"spec": {"stopped": False}})
    until(lambda: state(client, "long") == "Running")
    assert len(pods[1].pods) == 2
    assert client.call("DELETE", "/jobs/long?job_query_mode=alive_only").status_code == 200
    until(lambda: state(client, "long") == "Deleted")
    assert client.call("GET", "/jobs/long?job_query_mode=alive_only").status_code == 404
    assert client.call("DELETE", "/jobs/long").status_code == 404
    assert pods[1].pods[1].poll() == 143
    assert client.call("POST", "/jobs", lepton_job("long", "true")).status_code == 201


def test_a_deleted_job_is_only_in_the_archive(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    client.call(
        "POST", "/jobs", lepton_job("gone", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    )
    until(lambda: bool(pods[1].pods) and pods[1].pods[0].spec.log.read_bytes() == b"deaf\n")
    with_modes = ("", "?job_query_mode=alive_only", "?job_query_mode=archive_only", "?job_query_mode=alive_and_archive")
    assert client.call("DELETE", "/jobs/gone").status_code == 200
    # The command ignores SIGTERM, so that it is still being deleted.
    assert [client.call("GET", f"/jobs/gone{mode}").status_code for mode in with_modes] == [200, 200, 404, 200]
    assert client.get("/jobs/gone")["status"]["state"] == "Deleting"
    pods[1].pods[0].stop(0.0)
    until(lambda: state(client, "gone") == "Deleted")
    assert [client.call("GET", f"/jobs/gone{mode}").status_code for mode in with_modes] == [404, 404, 200, 200]


def test_a_workspace_may_forget_deleted_jobs(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, replace(LEPTON, keeps_deleted=False))
    with twin:
        client = lepton_client(twin)
        client.call("POST", "/jobs", lepton_job("gone", "true", ttl_seconds_after_finished=1000))
        client.call("DELETE", "/jobs/gone")
        for mode in ("alive_only", "archive_only", "alive_and_archive"):
            path = f"/jobs/gone?job_query_mode={mode}"
            until(lambda path=path: client.call("GET", path).status_code == 404)  # type: ignore[misc]
        assert client.get("/jobs?job_query_mode=alive_and_archive")["jobs"] == []
        client.call("POST", "/jobs", lepton_job("kept", "true", ttl_seconds_after_finished=0))
        until(lambda: state(client, "kept") == "Archived")


def test_an_ended_job_is_archived_when_its_time_is_over(client: Client) -> None:
    client.call("POST", "/jobs", lepton_job("kept", "true", ttl_seconds_after_finished=0))
    until(lambda: state(client, "kept") == "Archived")
    assert client.get("/jobs?job_query_mode=archive_only")["jobs"][0]["metadata"]["id"] == "kept"


@pytest.mark.parametrize("body", [{}, {"spec": []}, {"spec": {"stopped": 1}}, {"spec": {"completions": 2}}])
def test_nothing_but_whether_it_is_stopped_can_be_changed(client: Client, body: dict[str, Any]) -> None:
    client.call("POST", "/jobs", lepton_job("fixed", "true"))
    assert client.call("PATCH", "/jobs/fixed", body).status_code == 400


def test_a_name_alone_gets_an_identifier(client: Client) -> None:
    body = lepton_job("", "true")
    body["metadata"] = {"name": "only-a-name"}
    made = client.call("POST", "/jobs", body).json()["metadata"]["id"]
    assert made.startswith("only-a-name-")
    assert len(made) == len("only-a-name-") + 4


def test_the_same_identifier_is_refused_while_it_is_alive(client: Client) -> None:
    assert client.call("POST", "/jobs", lepton_job("one", "true")).status_code == 201
    reply = client.call("POST", "/jobs", lepton_job("one", "true"))
    assert (reply.status_code, reply.json()["code"]) == (409, "ResourceConflict")


def test_lists_come_in_pages_and_can_be_filtered(client: Client) -> None:
    for number in range(3):
        run(client, lepton_job(f"job-{number}", "true" if number else "false"))
    names = [job["metadata"]["id"] for job in client.get("/jobs?page=1&page_size=2")["jobs"]]
    assert names == ["job-2", "job-1"]
    assert [job["metadata"]["id"] for job in client.get("/jobs?page=2&page_size=2")["jobs"]] == ["job-0"]
    assert client.get("/jobs?page=3&page_size=2")["jobs"] == []
    assert [job["metadata"]["id"] for job in client.get("/jobs?status=Failed")["jobs"]] == ["job-0"]
    assert [job["metadata"]["id"] for job in client.get("/jobs?q=b-1")["jobs"]] == ["job-1"]
    assert client.call("GET", "/jobs?page=0").status_code == 400


def test_a_log_is_given_while_the_pod_writes_it(client: Client, tmp_path: Path) -> None:
    script = f"echo first; until test -e {tmp_path}/go; do sleep 0.01; done; echo last"
    client.call("POST", "/jobs", lepton_job("talks", "sh", "-c", script))
    until(lambda: bool(client.get("/jobs/talks/replicas")))
    replica = client.get("/jobs/talks/replicas")[0]["metadata"]["id"]
    with client.call("GET", f"/jobs/talks/replicas/{replica}/log", stream=True) as reply:
        lines = reply.iter_lines()
        assert next(lines) == b"first"
        (tmp_path / "go").touch()
        assert list(lines) == [b"last"]


def test_lines_of_all_pods_can_be_asked_for(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    script = 'for word in one two three; do echo "$LEPTON_JOB_WORKER_INDEX $word"; done'
    run(client, lepton_job("lines", "sh", "-c", script, nodes=2))
    name = pods[0].workloads[0].pods[1].name

    def lines(query: str) -> list[str]:
        streams = client.get(f"/logs?job=lines{query}")["data"]["result"]
        return [line for stream in streams for _, line in stream["values"]]

    whole = ["0 one", "0 two", "0 three", "1 one", "1 two", "1 three"]
    assert sorted(lines("")) == sorted(lines("&start=0&end=2000000000000000000&timestamps=True")) == sorted(whole)
    assert lines(f"&replica={name}&direction=forward") == whole[3:]
    assert lines(f"&replica={name}&limit=2") == ["1 three", "1 two"]
    assert lines("&q=two&direction=forward") == ["0 two", "1 two"]
    assert lines("&end=1") == lines("&replica=other") == []
    (stream,) = client.get(f"/logs?job=lines&replica={name}&direction=forward")["data"]["result"]
    assert stream["stream"] == {"job": "lines", "replica": name}
    times = [int(when) for when, _ in stream["values"]]
    assert times == sorted(set(times))
    again = f"/logs?job=lines&replica={name}&direction=forward&start={times[1]}&end={times[1]}"
    assert client.get(again)["data"]["result"][0]["values"] == [[str(times[1]), "1 two"]]


def test_what_the_platform_refuses_is_told_at_once(client: Client) -> None:
    reply = client.call("POST", "/jobs", lepton_job("By-Lepton", "true", resource_shape="none"))
    assert reply.status_code == 400
    told = reply.json()
    assert told["code"] == "InvalidParameter"
    assert "resource shape 'none' does not exist" in told["message"]
    assert "metadata.id" in told["message"]


def test_unknown_things_methods_and_credentials_are_refused(pods: tuple[Twin, PlainRunner], client: Client) -> None:
    twin, _ = pods
    for method, path, status in (
        ("GET", "/jobs/none", 404),
        ("GET", "/jobs/none/replicas", 404),
        ("GET", "/jobs/none/replicas/x/log", 404),
        ("GET", "/dedicated-node-groups/none/nodes", 404),
        ("GET", "/rayclusters/x", 404),
        ("GET", "/rayclusters/x/dashboard/api/version", 404),
        ("PUT", "/rayclusters", 405),
        ("GET", "/logs", 404),
        ("GET", "/logs?job=none", 404),
        ("POST", "/logs", 405),
        ("PUT", "/jobs/none", 405),
        ("POST", "/jobs/none/events", 405),
        ("GET", "/jobs?job_query_mode=some", 400),
    ):
        assert client.call(method, path).status_code == status, (method, path)
    assert client.call("PUT", "/jobs/none").headers["Allow"] == "DELETE, GET, PATCH"
    assert client.session.post(f"{twin.url}/jobs", data=b"{", timeout=5).status_code == 400
    assert client.session.post(f"{twin.url}/jobs", data=b"[]", timeout=5).status_code == 400
    assert lepton_client(twin, "wrong").call("GET", "/jobs").status_code == 401
    assert lepton_client(twin, "").call("GET", "/jobs").json()["code"] == "Unauthorized"


SDK = """
import json
from leptonai.api.v1.types.job import LeptonJob
from leptonai.api.v2.client import APIClient

client = APIClient()
(group,) = client.nodegroup.list_all()
nodes = client.nodegroup.list_nodes(group.metadata.id_)
body = json.loads(input())
body["spec"]["affinity"] = {
    "allowed_dedicated_node_groups": [group.metadata.id_],
    "allowed_nodes_in_node_group": [node.metadata.id_ for node in nodes],
}
job = client.job.create(LeptonJob(**body)).metadata.id_
while (status := client.job.get(job).status).state.value not in {"Completed", "Failed"}:
    pass
(replica,) = client.job.get_replicas(job)
text = "".join(client.job.get_log(job, replica))
listed = [one.metadata.id_ for one in client.job.list_all()]
events = client.job.get_events(job)
rows = client.log.get_log(name_or_job=job, replica=replica, start="1", end=str(9 * 10**18))["data"]["result"]
text += rows[0]["values"][0][1]
client.job.update(job, spec={"spec": {"stopped": True}})
client.job.delete(job)
print(json.dumps([group.metadata.name, len(nodes), status.state.value, text, listed, events[0].reason]))
"""


def test_the_platforms_own_sdk_works_with_it(pods: tuple[Twin, PlainRunner], tmp_path: Path) -> None:
    environment = {
        "LEPTON_WORKSPACE_ID": LEPTON.workspace_id,
        "LEPTON_WORKSPACE_TOKEN": LEPTON.token,
        "LEPTON_WORKSPACE_URL": pods[0].url,
        "LEPTON_CACHE_DIR": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "PATH": "/usr/bin:/bin",
    }
    body = json.dumps(lepton_job("by-the-sdk", "echo", "hello"))
    command = [sys.executable, "-W", "ignore", "-c", SDK]
    done = subprocess.run(
        command, input=body, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == ["my-group", 3, "Completed", "hello\nhello", ["by-the-sdk"], "Queueing"]
