from __future__ import annotations

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.platforms.credentials import FixedToken
from nemo_runspec.platforms.http import Api
from nemo_runspec.platforms.ray_dashboard import Driver, RayDashboard, seen
from nemo_runspec.platforms.workload import JobState, Seen
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted

PATH = "/rayclusters/c/dashboard"
JOBS = f"{PATH}/api/jobs/"
DRIVER = Driver(
    id="mine-abc123", entrypoint="python3 x.py", runtime_env={"env_vars": {"KEY": "canary"}}, metadata={"job": "mine"}
)
JOB = f"{JOBS}mine-abc123"
MISSING = Reply(status=404, body={"message": "no such job"})


def dashboard(server: Scripted, time: FakeTime) -> RayDashboard:
    api = Api(
        base_url=server.url, label="Lepton", credential=FixedToken("token", "a variable"), patience=time.patience()
    )
    return RayDashboard(api, PATH)


def running(status: str = "RUNNING", **fields: object) -> Reply:
    return Reply(body={"type": "SUBMISSION", "status": status, "submission_id": "mine-abc123", **fields})


def test_a_job_is_started_with_the_identifier_that_was_fixed(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", MISSING)
    server.script(f"POST {JOBS}", Reply(body={"submission_id": "mine-abc123", "job_id": "mine-abc123"}))
    dashboard(server, time).submit(DRIVER)
    assert server.asked[-1].json == {
        "entrypoint": "python3 x.py",
        "submission_id": "mine-abc123",
        "runtime_env": {"env_vars": {"KEY": "canary"}},
        "metadata": {"job": "mine"},
    }


def test_a_job_that_is_there_is_not_sent_again(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", running())
    dashboard(server, time).submit(DRIVER)
    assert server.lines == [f"GET {JOB}"]


def test_a_lost_answer_starts_one_job(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", MISSING, running())
    server.script(f"POST {JOBS}", Reply(fault="drop"))
    dashboard(server, time).submit(DRIVER)
    assert server.lines.count(f"POST {JOBS}") == 1


def test_a_refusal_repeats_no_value(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", MISSING)
    server.script(f"POST {JOBS}", Reply(status=400, body={"message": "KEY is canary"}))
    with pytest.raises(RefusedError) as refused:
        dashboard(server, time).submit(DRIVER)
    assert "canary" not in str(refused.value)


def test_a_package_that_is_there_is_not_sent_again(server: Scripted, time: FakeTime) -> None:
    package = f"{PATH}/api/packages/gcs/_ray_pkg_1.zip"
    server.script(f"GET {package}", MISSING, Reply(body={}))
    server.script(f"PUT {package}", Reply(body={"result": True}))
    for _ in range(2):
        dashboard(server, time).upload("_ray_pkg_1.zip", b"PK\0\xff")
    assert server.lines == [f"GET {package}", f"PUT {package}", f"GET {package}"]
    assert server.asked[1].body == b"PK\0\xff"


@pytest.mark.parametrize(
    ("job", "found"),
    [
        ({"status": "PENDING"}, Seen(JobState.STARTING, "PENDING")),
        ({"status": "RUNNING", "driver_exit_code": None}, Seen(JobState.RUNNING, "RUNNING")),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, Seen(JobState.SUCCEEDED, "SUCCEEDED", exit_code=0)),
        ({"status": "FAILED", "driver_exit_code": 7}, Seen(JobState.FAILED, "FAILED", exit_code=7)),
        ({"status": "FAILED", "driver_exit_code": -9}, Seen(JobState.FAILED, "FAILED", exit_code=137)),
        ({"status": "STOPPED", "driver_exit_code": -15}, Seen(JobState.CANCELLED, "STOPPED")),
        ({"status": "NEW"}, Seen(JobState.UNKNOWN, "NEW")),
        ({}, Seen(JobState.UNKNOWN)),
    ],
)
def test_rays_words_in_ours(job: dict[str, object], found: Seen) -> None:
    assert seen(job) == found


def test_jobs_and_output_are_read(server: Scripted, time: FakeTime) -> None:
    rows = [{"submission_id": "a", "start_time": 1}, {"submission_id": "b", "start_time": 2}, {"type": "DRIVER"}]
    server.script(f"GET {JOBS}", Reply(body=rows))
    server.script(f"GET {JOB}/logs", Reply(body={"logs": "one\ntwo"}))
    server.script(f"POST {JOB}/stop", Reply(body={"stopped": True}))
    asked = dashboard(server, time)
    assert [job["submission_id"] for job in asked.jobs()] == ["b", "a"]
    assert asked.logs("mine-abc123") == b"one\ntwo"
    asked.stop("mine-abc123")
    assert server.lines[-1] == f"POST {JOB}/stop"
