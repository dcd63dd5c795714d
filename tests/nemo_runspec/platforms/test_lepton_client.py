from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.lepton import LeptonClient, LeptonSettings, request
from nemo_runspec.platforms.workload import JobState, Platform, Seen, Submitted, Workload
from tests.nemo_runspec.platforms.scripted import Reply, Scripted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemo_runspec.platforms.scripted import FakeTime

NAME = "nano3-sft-abc123"
JOB = f"/jobs/{NAME}"
REQUEST = request(
    Workload(image="i", argv=("true",), env=(("A", "x"),), secrets=(("WANDB_API_KEY", "hunter2-canary"),)),
    LeptonSettings(resource_shape="gpu.8xh100", node_group="mine"),
)
GROUPS = Reply(
    body=[
        {"metadata": {"id": "ng-1", "name": "other"}, "spec": {}, "status": {}},
        {"metadata": {"id": "ng-2", "name": "mine"}, "spec": {}, "status": {}},
    ]
)
CREATED = Reply(status=201, body={"metadata": {"id": NAME}})
SUBMITTED = Submitted("lepton", "job", NAME, NAME)


def job(state: str | None, **status: int) -> Reply:
    return Reply(body={"metadata": {"id": NAME}, "status": {"state": state, **status} if state else None})


def client(server: Scripted, time: FakeTime, **changes: Any) -> LeptonClient:  # noqa: ANN401 - fields of Patience
    return LeptonClient(f"{server.url}/", "canary-token", "https://o", patience=time.patience(**changes))


def test_it_is_a_platform(server: Scripted, time: FakeTime) -> None:
    platform: Platform = client(server, time)
    assert platform
    assert client(server, time).base_url == server.url


def test_one_call_creates_the_job(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", CREATED)
    assert client(server, time).submit(REQUEST, NAME) == SUBMITTED
    assert server.lines == ["GET /dedicated-node-groups", "POST /jobs"]
    body = server.asked[1].json
    assert body["metadata"] == {"id": NAME}
    assert body["spec"]["affinity"] == {"allowed_dedicated_node_groups": ["ng-2"]}
    assert server.asked[1].headers["Authorization"] == "Bearer canary-token"
    assert server.asked[1].headers["origin"] == "https://o"


def test_the_platforms_own_identifier_is_kept(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", Reply(body={"metadata": {"id": f"{NAME}-98bw"}}))
    assert client(server, time).submit(REQUEST, NAME) == Submitted("lepton", "job", f"{NAME}-98bw", NAME)


@pytest.mark.parametrize("fault", [Reply(fault="drop"), Reply(fault="reset"), Reply(status=500)])
def test_a_lost_reply_makes_no_second_job(server: Scripted, time: FakeTime, fault: Reply) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", fault)
    server.script(f"GET {JOB}", job("Queueing"))
    assert client(server, time).submit(REQUEST, NAME) == SUBMITTED
    assert server.lines == ["GET /dedicated-node-groups", "POST /jobs", f"GET {JOB}"]


def test_a_lost_request_is_sent_again(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", Reply(status=429, headers={"Retry-After": "5"}), CREATED)
    assert client(server, time).submit(REQUEST, NAME) == SUBMITTED
    assert server.lines[1:] == ["POST /jobs", f"GET {JOB}", "POST /jobs"]
    assert time.waits == [5]


def test_an_unknown_node_group_is_told_before_anything_is_created(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", Reply(body=[{"metadata": {"id": "ng-1", "name": "mina"}}, None]))
    with pytest.raises(RefusedError, match="no node group 'mine'") as caught:
        client(server, time).submit(REQUEST, NAME)
    assert "Did you mean 'mina'?" in str(caught.value)
    assert server.lines == ["GET /dedicated-node-groups"]


def test_no_workspace_there_is_told(server: Scripted, time: FakeTime) -> None:
    with pytest.raises(RefusedError, match="there is no Lepton workspace at"):
        client(server, time).submit(REQUEST, NAME)


def test_a_refusal_repeats_no_secret(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", Reply(status=400, body={"message": "bad env WANDB: hunter2-canary", "code": "x"}))
    with pytest.raises(RefusedError, match=r"bad env WANDB: \*\*\*") as caught:
        client(server, time).submit(REQUEST, NAME)
    assert "canary" not in str(caught.value)


def test_a_refused_token_is_told_with_its_place(
    server: Scripted, time: FakeTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ID": "w", "TOKEN": "canary", "URL": server.url, "ORIGIN_URL": ""}.items():
        monkeypatch.setenv(f"LEPTON_WORKSPACE_{name}", value)
    monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path))
    server.script("GET /dedicated-node-groups", Reply(status=401, body={"message": "unauthorized"}))
    found = LeptonClient.from_environment("lepton_rl", patience=time.patience())
    with pytest.raises(DeniedError, match=r"LEPTON_WORKSPACE_TOKEN.* profile 'lepton_rl'") as caught:
        found.submit(REQUEST, NAME)
    assert "canary" not in str(caught.value)
    assert found.base_url == server.url


STATES: list[tuple[Reply, JobState]] = [
    (job("Queueing"), JobState.QUEUED),
    (job("Awaiting"), JobState.QUEUED),
    (job("Starting"), JobState.STARTING),
    (job("PendingRetry"), JobState.STARTING),
    (job("Restarting"), JobState.STARTING),
    (job("Running"), JobState.RUNNING),
    (job("Running", ready=1, active=2), JobState.STARTING),
    (job("Running", ready=2, active=2), JobState.RUNNING),
    (job("Stopping"), JobState.STOPPING),
    (job("Deleting"), JobState.STOPPING),
    (job("Terminating"), JobState.STOPPING),
    (job("Completed", ready=0, active=2), JobState.SUCCEEDED),
    (job("Failed"), JobState.FAILED),
    (job("Stopped"), JobState.CANCELLED),
    (job("Deleted"), JobState.LOST),
    (job("Archived"), JobState.LOST),
    (job("UNK"), JobState.UNKNOWN),
    (job("Something New"), JobState.UNKNOWN),
    (job(None), JobState.UNKNOWN),
    (Reply(), JobState.UNKNOWN),
    (Reply(body=[]), JobState.UNKNOWN),
    (Reply(status=404), JobState.LOST),
    (Reply(status=500), JobState.UNREACHABLE),
    (Reply(status=429), JobState.UNREACHABLE),
    (Reply(fault="drop"), JobState.UNREACHABLE),
    (Reply(fault="reset"), JobState.UNREACHABLE),
]


ODD = {"302": Reply(status=302), "400": Reply(status=400), "422": Reply(status=422), "page": Reply(body=b"<html>")}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_ends_no_waiting(server: Scripted, time: FakeTime, odd: Reply) -> None:
    server.script(f"GET {JOB}", odd, job("Running"))
    assert client(server, time).look(SUBMITTED).state is JobState.RUNNING
    server.script(f"GET {JOB}", odd)
    assert client(server, time).look(SUBMITTED).state is JobState.UNREACHABLE
    assert 29 < sum(time.waits) < 32


def ended(state: str, completions: object, **status: object) -> Reply:
    return Reply(body={"spec": {"completions": completions}, "status": {"state": state, **status}})


@pytest.mark.parametrize("word", ["Archived", "Deleted"])
@pytest.mark.parametrize(
    ("completions", "status", "state"),
    [
        (2, {"succeeded": 2}, JobState.SUCCEEDED),
        (2, {"succeeded": 2, "failed": 1}, JobState.SUCCEEDED),
        (2, {"succeeded": 1, "failed": 1}, JobState.FAILED),
        (2, {"succeeded": 1, "failed": 0}, JobState.LOST),
        (2, {}, JobState.LOST),
        (None, {"succeeded": 2, "failed": None}, JobState.LOST),
        (0, {"succeeded": 0}, JobState.LOST),
        ("2", {"succeeded": "2"}, JobState.LOST),
    ],
)
def test_a_job_that_was_put_away_keeps_its_end(
    server: Scripted, time: FakeTime, word: str, completions: object, status: dict[str, object], state: JobState
) -> None:
    server.script(f"GET {JOB}", ended(word, completions, **status))
    assert client(server, time).look(SUBMITTED) == Seen(state, word)


def test_a_lost_reply_and_a_refused_token_leave_a_name_to_look_for(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", Reply(fault="drop"))
    server.script(f"GET {JOB}", Reply(status=401), Reply(status=404), job("Running"))
    platform = client(server, time)
    with pytest.raises(UnreachableError, match=f"not known whether the workload '{NAME}' was created"):
        platform.submit(REQUEST, NAME)
    assert platform.look(SUBMITTED).state is JobState.UNKNOWN
    assert platform.look(SUBMITTED).state is JobState.RUNNING


@pytest.mark.parametrize("identifier", [NAME, ""])
def test_a_job_whose_reply_was_never_heard_has_its_name(server: Scripted, time: FakeTime, identifier: str) -> None:
    server.script(f"GET {JOB}", job("Running"), job("Stopped"))
    server.script(f"PATCH {JOB}", Reply())
    client(server, time).cancel(Submitted("lepton", "job", identifier, NAME))
    assert server.lines == [f"GET {JOB}", f"PATCH {JOB}", f"GET {JOB}"]


def test_a_list_of_pods_that_fails_is_soon_given_up(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}/replicas", Reply(status=503))
    with pytest.raises(UnreachableError):
        client(server, time).pods(SUBMITTED)
    assert sum(time.waits) < 12


@pytest.mark.parametrize(("reply", "state"), STATES)
def test_every_state(server: Scripted, time: FakeTime, reply: Reply, state: JobState) -> None:
    server.script(f"GET {JOB}", reply)
    assert client(server, time).look(SUBMITTED).state is state
    assert server.asked[0].query == {"job_query_mode": "alive_and_archive"}


def test_the_platforms_word_is_kept(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", job("PendingRetry"))
    assert client(server, time).look(SUBMITTED) == Seen(JobState.STARTING, "PendingRetry")


def test_a_short_outage_is_not_seen(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", Reply(status=503), Reply(fault="drop"), job("Running"))
    assert client(server, time).look(SUBMITTED).state is JobState.RUNNING


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_is_no_state(server: Scripted, time: FakeTime, status: int) -> None:
    server.script(f"GET {JOB}", Reply(status=status))
    with pytest.raises(DeniedError):
        client(server, time).look(SUBMITTED)


def test_a_new_job_that_is_not_listed_yet_is_not_gone(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", CREATED)
    platform = client(server, time)
    platform.submit(REQUEST, NAME)
    assert platform.look(SUBMITTED).state is JobState.UNKNOWN
    time.sleep(60)
    assert platform.look(SUBMITTED).state is JobState.LOST


def test_a_new_job_that_was_seen_and_deleted_is_gone(server: Scripted, time: FakeTime) -> None:
    server.script("GET /dedicated-node-groups", GROUPS)
    server.script("POST /jobs", CREATED)
    server.script(f"GET {JOB}", job("Queueing"), Reply(status=404))
    platform = client(server, time)
    platform.submit(REQUEST, NAME)
    assert platform.look(SUBMITTED).state is JobState.QUEUED
    assert platform.look(SUBMITTED).state is JobState.LOST


def test_pods_come_in_order(server: Scripted, time: FakeTime) -> None:
    found = [f"{NAME}-{index}-ab1cd" for index in (10, 2, 0)]
    server.script(f"GET {JOB}/replicas", Reply(body=[{"metadata": {"id": pod}, "id": pod} for pod in found]))
    assert client(server, time).pods(SUBMITTED) == tuple(f"{NAME}-{index}-ab1cd" for index in (0, 2, 10))


@pytest.mark.parametrize("reply", [Reply(status=404), Reply(body=[]), Reply()])
def test_no_pods_yet(server: Scripted, time: FakeTime, reply: Reply) -> None:
    server.script(f"GET {JOB}/replicas", reply)
    assert client(server, time).pods(SUBMITTED) == ()


def test_a_log_through_a_reset_to_the_end(server: Scripted, time: FakeTime) -> None:
    pod = f"{NAME}-0-ab1cd"
    path = f"{JOB}/replicas/{pod}/log"
    server.script(
        f"GET {path}",
        Reply(status=404),
        Reply(chunks=(b"one\ntw",), fault="cut"),
        Reply(status=503),
        Reply(chunks=(b"one\n", b"two\nthree\n")),
        Reply(chunks=(b"one\ntwo\nthree\nlast",)),
    )
    server.script(f"GET {JOB}", job("Starting"), *[job("Running")] * 8, job("Completed"))
    assert list(client(server, time).log(SUBMITTED, pod)) == ["one", "two", "three", "last"]


def test_the_log_of_a_failed_job_ends(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}/replicas/p/log", Reply(chunks=(b"bad\n",)))
    server.script(f"GET {JOB}", job("Failed"))
    assert list(client(server, time).log(SUBMITTED, "p")) == ["bad"]
    assert time.waits == []


@pytest.mark.parametrize("state", ["Queueing", "Starting", "Running", "UNK"])
def test_cancel_stops_what_is_not_over_and_keeps_its_record(server: Scripted, time: FakeTime, state: str) -> None:
    server.script(f"GET {JOB}", job(state), job("Stopping"), job("Stopping"), job("Stopped"))
    server.script(f"PATCH {JOB}", Reply())
    client(server, time).cancel(SUBMITTED)
    (patch,) = (asked for asked in server.asked if asked.method == "PATCH")
    assert patch.json == {"spec": {"stopped": True}}
    assert [line for line in server.lines if line.startswith("DELETE")] == []


@pytest.mark.parametrize("reply", [job("Completed"), job("Failed"), job("Stopped"), Reply(status=404)])
def test_cancel_leaves_what_is_over_alone(server: Scripted, time: FakeTime, reply: Reply) -> None:
    server.script(f"GET {JOB}", reply)
    client(server, time).cancel(SUBMITTED)
    assert server.lines == [f"GET {JOB}"]


@pytest.mark.parametrize("refusal", [Reply(status=400), Reply(status=405), Reply(status=409)])
def test_a_job_that_cannot_be_stopped_is_deleted(server: Scripted, time: FakeTime, refusal: Reply) -> None:
    server.script(f"GET {JOB}", job("Queueing"), job("Queueing"), job("Deleting"), Reply(status=404))
    server.script(f"PATCH {JOB}", refusal)
    server.script(f"DELETE {JOB}", Reply(status=204))
    client(server, time).cancel(SUBMITTED)
    (delete,) = (asked for asked in server.asked if asked.method == "DELETE")
    assert delete.query == {"job_query_mode": "alive_only"}


def test_a_cancellation_through_an_outage(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", job("Running"), Reply(fault="drop"), job("Stopping"), job("Stopped"))
    server.script(f"PATCH {JOB}", Reply(status=503), Reply(fault="reset"), Reply())
    client(server, time).cancel(SUBMITTED)
    assert server.lines.count(f"PATCH {JOB}") == 3


def test_a_cancellation_that_never_comes_is_told(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", job("Stopping"))
    server.script(f"PATCH {JOB}", Reply())
    server.script(f"DELETE {JOB}", Reply())
    with pytest.raises(PlatformError, match=f"has not stopped the job '{NAME}': it is 'Stopping'"):
        client(server, time).cancel(SUBMITTED)


def test_a_cancellation_that_nobody_hears_is_told(server: Scripted, time: FakeTime) -> None:
    server.script(f"GET {JOB}", Reply(status=503))
    server.script(f"PATCH {JOB}", Reply(status=503))
    with pytest.raises(UnreachableError):
        client(server, time).cancel(SUBMITTED)
