from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.errors import GoneError, PlatformError, RefusedError
from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.lepton_ray import HEAD_S, LINGER_S, LeptonRayClient, cluster_in, release
from nemo_runspec.platforms.ray_dashboard import Driver
from nemo_runspec.platforms.ray_request import RaySettings, cluster_request, job_request
from nemo_runspec.platforms.workload import Cause, JobState, Platform, Submitted, Workload
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted
from tests.nemo_runspec.platforms.test_lepton_client import GROUPS

NAME = "mine-abc123"
CLUSTER = f"/rayclusters/{NAME}"
JOB = f"{CLUSTER}/dashboard/api/jobs/{NAME}"
OWN = Submitted("lepton", "raycluster", NAME, NAME)
ON_TEAM = Submitted("lepton", "rayjob", f"team/{NAME}", NAME)
REQUEST = cluster_request(
    Workload(image="i", nodes=2, argv=("ray",), secrets=(("WANDB_API_KEY", "hunter2-canary"),)),
    LeptonSettings(resource_shape="gpu.8xh100", node_group="mine"),
    RaySettings(version="2.49.2"),
)
DRIVER = Driver(id=NAME, entrypoint="python3 x.py")
PACKAGE = ("_ray_pkg_1.zip", b"zip")
MISSING = Reply(status=404, body={"message": "none"})


def cluster(state: str) -> Reply:
    return Reply(body={"metadata": {"id": NAME}, "spec": {}, "status": {"state": state, "readyWorkerReplicas": 1}})


def driver(status: str, code: int | None = None) -> Reply:
    return Reply(body={"status": status, "submission_id": NAME, "driver_exit_code": code})


def client(server: Scripted, time: FakeTime, **changes: Any) -> LeptonRayClient:  # noqa: ANN401 - fields of Patience
    return LeptonRayClient(server.url, "token", patience=time.patience(**changes))


def started(server: Scripted, time: FakeTime, **changes: Any) -> LeptonRayClient:  # noqa: ANN401 - fields of Patience
    """Give a client that has started a driver."""
    server.script(f"GET {CLUSTER}", cluster("Ready"))
    server.script(f"GET {JOB}", MISSING)
    server.script(f"GET {CLUSTER}/dashboard/api/packages/gcs/_ray_pkg_1.zip", Reply(body={}))
    server.script(f"POST {CLUSTER}/dashboard/api/jobs/", Reply(body={"submission_id": NAME}))
    made = client(server, time, **changes)
    made.start(OWN, DRIVER, PACKAGE)
    server.script(f"GET {JOB}", driver("RUNNING"))
    return made


def test_it_is_a_platform_and_makes_a_cluster_in_one_call(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /rayclusters", Reply(status=201))
    platform: Platform = client(server, time)
    assert platform.submit(REQUEST, NAME) == OWN
    body = server.asked[1].json
    assert body["metadata"] == {"id": NAME, "name": NAME}
    assert body["spec"]["head_group_spec"]["affinity"] == {"allowed_dedicated_node_groups": ["ng-2"]}


def test_a_lost_answer_makes_one_cluster(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /rayclusters", Reply(fault="reset"))
    server.script(f"GET {CLUSTER}", cluster("Starting"))
    assert client(server, time).submit(REQUEST, NAME) == OWN
    assert server.lines.count("POST /rayclusters") == 1


def test_a_refusal_holds_no_secret(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /rayclusters", Reply(status=400, body={"message": "bad hunter2-canary"}))
    with pytest.raises(RefusedError) as refused:
        client(server, time).submit(REQUEST, NAME)
    assert "hunter2-canary" not in str(refused.value)


def test_a_job_on_a_cluster_makes_nothing_before_its_driver(server: Scripted, time: FakeTime) -> None:
    request = job_request(RaySettings(existing="team"), package="p", env={})
    with pytest.raises(RefusedError, match="no Ray cluster 'team'"):
        client(server, time).submit(request, NAME)
    server.script("GET /rayclusters/team", cluster("Ready"))
    assert client(server, time).submit(request, NAME) == ON_TEAM
    assert cluster_in(ON_TEAM) == "team"
    assert {line.split()[0] for line in server.lines} == {"GET"}


def test_a_cluster_is_waited_for_and_its_states_are_told(server: Scripted, time: FakeTime) -> None:
    states = ("Starting", "Starting", "Not Ready", "Ready")
    server.script(f"GET {CLUSTER}", *map(cluster, states))
    told: list[str] = []
    client(server, time).await_ready(NAME, told.append)
    assert [text.rpartition(" is ")[2] for text in told] == ["starting", "not ready", "ready"]


def test_nobody_waits_for_a_cluster_that_is_ended(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {CLUSTER}", cluster("Stopped"))
    with pytest.raises(RefusedError, match="is stopped"):
        client(server, time).await_ready(NAME, print)
    server.script(f"GET {CLUSTER}", MISSING)
    with pytest.raises(GoneError):
        client(server, time).await_ready(NAME, print)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("Starting", JobState.STARTING),
        ("Not Ready", JobState.STARTING),
        ("Stopping", JobState.STOPPING),
        ("Deleting", JobState.STOPPING),
        ("Stopped", JobState.CANCELLED),
        ("", JobState.UNKNOWN),
    ],
)
def test_a_cluster_without_a_driver(server: Scripted, time: FakeTime, state: str, found: JobState) -> None:
    server.script(f"GET {CLUSTER}", cluster(state))
    assert client(server, time).look(OWN).state is found


def test_a_driver_says_how_the_job_stands(server: Scripted, time: FakeTime) -> None:
    made = started(server, time)
    assert made.look(OWN).state is JobState.RUNNING
    server.script(f"GET {CLUSTER}", cluster("Not Ready"))
    assert made.look(OWN).state is JobState.RUNNING, "a worker is away, and the driver goes on"
    server.script(f"GET {JOB}", driver("FAILED", 7))
    assert (made.look(OWN).state, made.look(OWN).exit_code) == (JobState.FAILED, 7)


def test_a_head_that_was_started_again_has_lost_the_job(server: Scripted, time: FakeTime) -> None:
    made = started(server, time)
    server.script(f"GET {JOB}", MISSING)
    seen = made.look(OWN)
    assert (seen.state, seen.cause, seen.word) == (JobState.FAILED, Cause.NODE, "the head was started again")


def test_a_head_that_does_not_answer_is_given_up_after_a_while(server: Scripted, time: FakeTime) -> None:
    made = started(server, time, look_s=5)
    server.script(f"GET {JOB}", Reply(status=502))
    begin = time.now
    while (seen := made.look(OWN)).state is JobState.UNKNOWN:
        time.sleep(1)
    assert (seen.state, seen.cause) == (JobState.FAILED, Cause.NODE)
    assert HEAD_S < time.now - begin < HEAD_S + 30


def test_the_output_is_given_once_and_to_its_end(server: Scripted, time: FakeTime) -> None:
    made = started(server, time)
    server.script(f"GET {JOB}/logs", *(Reply(body={"logs": text}) for text in ("one\ntw", "one\ntwo\nthree\nrest")))
    server.script(f"GET {JOB}", driver("RUNNING"), driver("RUNNING"), driver("SUCCEEDED", 0))
    assert made.pods(OWN) == ("driver",)
    assert list(made.log(OWN, "driver")) == ["one", "two", "three", "rest"]


def test_a_cancelled_job_ends_its_driver_and_then_its_cluster(server: Scripted, time: FakeTime) -> None:
    made = started(server, time)
    server.script(f"POST {JOB}/stop", Reply(body={"stopped": True}))
    server.script(f"GET {JOB}", driver("RUNNING"), driver("STOPPED"))
    server.script(f"PATCH {CLUSTER}", Reply(body={}))
    server.script(f"GET {CLUSTER}", *map(cluster, ("Ready", "Ready", "Stopping", "Stopped")))
    made.cancel(OWN)
    sent = [asked for asked in server.asked if asked.method in {"POST", "PATCH"}][-2:]
    assert [asked.line for asked in sent] == [f"POST {JOB}/stop", f"PATCH {CLUSTER}"]
    assert sent[1].json == {"spec": {"suspend": True}}


def test_a_job_on_a_cluster_is_stopped_and_the_cluster_left(server: Scripted, time: FakeTime) -> None:
    team = f"/rayclusters/team/dashboard/api/jobs/{NAME}"
    server.script("GET /rayclusters/team", cluster("Ready"))
    server.script(f"GET {team}", driver("PENDING"), driver("RUNNING"), driver("STOPPED"))
    server.script(f"POST {team}/stop", Reply(body={"stopped": True}))
    client(server, time).cancel(ON_TEAM)
    assert [line for line in server.lines if not line.startswith("GET")] == [f"POST {team}/stop"]
    server.script(f"GET {team}", driver("RUNNING"))
    with pytest.raises(PlatformError, match="has not stopped: it is 'RUNNING'"):
        client(server, time).cancel(ON_TEAM)


def test_a_job_whose_driver_was_never_started_needs_no_end(server: Scripted, time: FakeTime) -> None:
    server.script("GET /rayclusters/team", cluster("Ready"))
    client(server, time).cancel(ON_TEAM)
    assert {line.split()[0] for line in server.lines} == {"GET"}


def test_a_cluster_that_does_not_stop_is_told(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {CLUSTER}", cluster("Starting"))
    server.script(f"PATCH {CLUSTER}", Reply(body={}))
    with pytest.raises(PlatformError, match="has not suspended") as failed:
        client(server, time).cancel(OWN)
    assert f"nemotron ray down {NAME}" in str(failed.value)


def test_only_a_cluster_of_ones_own_is_let_go(server: Scripted, time: FakeTime) -> None:
    server.script(f"PATCH {CLUSTER}", Reply(body={}))
    made = client(server, time)
    release(made, ON_TEAM)
    release(made, Submitted("lepton", "job", NAME, NAME))
    assert server.lines == []
    release(made, OWN)
    assert server.lines == [f"PATCH {CLUSTER}"]


def test_whoever_sees_a_job_that_ended_long_ago_lets_its_cluster_go(
    server: Scripted, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(server, time)
    server.script(f"PATCH {CLUSTER}", Reply(body={}))
    job = {"status": "SUCCEEDED", "submission_id": NAME, "driver_exit_code": 0, "end_time": 2_000_000}
    server.script(f"GET {JOB}", Reply(body=job))
    monkeypatch.setattr("time.time", lambda: 2000 + LINGER_S - 1)
    assert made.look(OWN).state is JobState.SUCCEEDED
    assert f"PATCH {CLUSTER}" not in server.lines
    monkeypatch.setattr("time.time", lambda: 2000 + LINGER_S + 1)
    assert made.look(OWN).state is JobState.SUCCEEDED
    assert server.lines[-1] == f"PATCH {CLUSTER}"
    server.script(f"PATCH {CLUSTER}", Reply(status=403))
    assert made.look(OWN).state is JobState.SUCCEEDED, "the end is told in any case"


def test_what_an_ended_job_leaves_is_its_cluster(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {CLUSTER}", cluster("Stopped"))
    server.script(f"DELETE {CLUSTER}", Reply(body={}))
    made = client(server, time)
    made.remove(ON_TEAM)
    assert server.lines == []
    made.remove(OWN)
    assert server.lines[-1] == f"DELETE {CLUSTER}"


def test_clusters_are_listed(server: Scripted, time: FakeTime) -> None:
    row = {
        "metadata": {"id": "team", "created_at": 5000},
        "spec": {"ray_version": "2.49.2", "suspend": True, "worker_group_specs": [{"min_replicas": 3}]},
        "status": {"state": "Stopped"},
    }
    server.script("GET /rayclusters", Reply(body=[row, "odd"]))
    (found,) = client(server, time).clusters()
    assert (found.name, found.state, found.wanted, found.ready, found.created_s) == ("team", "Stopped", 3, 0, 5.0)


def test_jobs_go_the_usual_way(server: Scripted, time: FakeTime) -> None:
    server.script("GET /jobs/x", Reply(body={"metadata": {"id": "x"}, "status": {"state": "Completed"}}))
    job = Submitted("lepton", "job", "x", "x")
    assert client(server, time).look(job).state is JobState.SUCCEEDED
    assert client(server, time).find("job", "x") == job
    assert client(server, time).find("raycluster", "x") is None
