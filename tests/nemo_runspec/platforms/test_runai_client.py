from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError
from nemo_runspec.platforms.runai import RunaiClient, request
from nemo_runspec.platforms.workload import JobState, Platform, Seen, Submitted
from tests.nemo_runspec.platforms.runai_answers import (
    CREATE,
    CREATED,
    ID,
    LIST,
    NAME,
    ONE,
    PROJECT,
    PROJECTS,
    REQUEST,
    SECRET,
    SETTINGS,
    SUBMITTED,
    WORKLOAD,
    phase,
    token,
)
from tests.nemo_runspec.platforms.scripted import Reply, Scripted

if TYPE_CHECKING:
    from tests.nemo_runspec.platforms.scripted import FakeTime


def calls(server: Scripted) -> list[str]:
    return [line for line in server.lines if not line.endswith("/token")]


def test_it_is_a_platform(runai: RunaiClient) -> None:
    platform: Platform = runai
    assert platform


def test_one_call_creates_the_workload(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, CREATED)
    assert runai.submit(REQUEST, NAME) == SUBMITTED
    assert calls(server) == [PROJECTS, CREATE]
    body = server.asked[-1].json
    assert (body["name"], body["useGivenNameAsPrefix"]) == (NAME, False)
    assert (body["projectId"], body["clusterId"]) == ("33", "c-1")
    assert server.asked[1].query["filterBy"] == "name==team"
    assert {asked.headers.get("Authorization") for asked in server.asked[1:]} == {"Bearer t1"}


def test_one_pod_is_a_training(server: Scripted, runai: RunaiClient) -> None:
    server.script("POST /api/v1/workloads/trainings", CREATED)
    submitted = runai.submit(request(replace(WORKLOAD, nodes=1), SETTINGS), NAME)
    assert submitted == Submitted("dgxcloud", "trainings", ID, NAME)


def test_the_project_and_the_token_are_asked_for_once(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, CREATED)
    server.script(f"GET {ONE}", phase("Running"))
    runai.submit(REQUEST, NAME)
    runai.submit(REQUEST, NAME)
    for _ in range(5):
        runai.look(SUBMITTED)
    assert server.lines.count(PROJECTS) == server.lines.count("POST /api/v1/token") == 1


@pytest.mark.parametrize("fault", [Reply(fault="drop"), Reply(fault="reset"), Reply(status=503)])
def test_a_lost_reply_makes_no_second_workload(server: Scripted, runai: RunaiClient, fault: Reply) -> None:
    others = [{"name": f"{NAME}-2", "id": "x"}, {"name": NAME, "id": "y", "projectId": "34"}]
    server.script(CREATE, fault)
    server.script(LIST, Reply(body={"workloads": [*others, {"name": NAME, "id": ID, "projectId": 33}]}))
    assert runai.submit(REQUEST, NAME) == SUBMITTED
    assert calls(server) == [PROJECTS, CREATE, LIST]
    assert server.asked[-1].query["filterBy"] == f"name=={NAME}"


def test_a_lost_request_is_sent_again(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, Reply(status=503), CREATED)
    server.script(LIST, Reply(body={"workloads": []}))
    assert runai.submit(REQUEST, NAME) == SUBMITTED
    assert calls(server) == [PROJECTS, CREATE, LIST, CREATE]


def test_a_name_that_is_taken_after_a_lost_reply_is_ones_own(server: Scripted, runai: RunaiClient) -> None:
    found = Reply(body={"workloads": [{"name": NAME, "workloadId": ID}]})
    server.script(CREATE, Reply(fault="drop"), Reply(status=409))
    server.script(LIST, Reply(body={"workloads": []}), found)
    assert runai.submit(REQUEST, NAME) == SUBMITTED


def test_a_refusal_tells_every_issue_and_no_secret(server: Scripted, runai: RunaiClient) -> None:
    issues = [{"field": "compute", "details": "must be no less than 3"}, {"field": "e", "details": "hunter2-canary"}]
    server.script(CREATE, Reply(status=400, body={"code": 400, "message": "refused", "complianceIssues": issues}))
    with pytest.raises(RefusedError, match=r"refused; compute: must be no less than 3; e: \*\*\*") as caught:
        runai.submit(REQUEST, NAME)
    assert "canary" not in str(caught.value)


def test_a_token_that_expires_is_replaced(server: Scripted, runai: RunaiClient, time: FakeTime) -> None:
    server.script(f"GET {ONE}", phase("Running"))
    runai.look(SUBMITTED)
    time.sleep(3_600)
    runai.look(SUBMITTED)
    assert [asked.headers["Authorization"] for asked in server.asked if asked.method == "GET"] == [
        "Bearer t1",
        "Bearer t2",
    ]


def test_a_token_that_is_refused_early_is_replaced_once(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", Reply(status=401, body={"message": "expired"}), phase("Running"))
    assert runai.look(SUBMITTED).state is JobState.RUNNING
    assert server.lines == ["POST /api/v1/token", f"GET {ONE}"] * 2


def test_a_token_that_is_refused_on_creation_makes_one_workload(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, Reply(status=401), CREATED)
    assert runai.submit(REQUEST, NAME) == SUBMITTED
    assert LIST not in server.lines


def test_a_credential_that_is_never_taken_is_told(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", Reply(status=401, body={"message": "Issuer is not familiar."}))
    with pytest.raises(DeniedError, match=r"Issuer is not familiar") as caught:
        runai.look(SUBMITTED)
    assert "client_id and client_secret of profile 'dgx'" in str(caught.value)


def test_a_wrong_secret_is_told_before_anything_else(server: Scripted, runai: RunaiClient) -> None:
    server.script("POST /api/v1/token", Reply(status=401, body={"message": f"no {SECRET}"}))
    with pytest.raises(DeniedError, match="profile 'dgx'") as caught:
        runai.submit(REQUEST, NAME)
    assert SECRET not in str(caught.value)
    assert server.lines == ["POST /api/v1/token"]


def test_an_outage_of_the_token_is_waited_for(server: Scripted, runai: RunaiClient) -> None:
    server.script("POST /api/v1/token", Reply(status=503), Reply(fault="drop"), token("t1"))
    server.script(f"GET {ONE}", phase("Running"))
    assert runai.look(SUBMITTED).state is JobState.RUNNING


def test_a_project_on_a_later_page_is_found(server: Scripted, runai: RunaiClient) -> None:
    """Also where the platform filters nothing and gives fewer on a page than asked for."""
    others = [{"id": str(number), "name": f"p{number}"} for number in range(120)]
    pages = [others[:50], others[50:100], [*others[100:], PROJECT]]
    replies = [Reply(body={"projects": page, "next": number}) for number, page in enumerate(pages[:2], 1)]
    server.script(PROJECTS, *replies, Reply(body={"projects": pages[2]}))
    server.script(CREATE, CREATED)
    assert runai.submit(REQUEST, NAME) == SUBMITTED
    assert [asked.query["offset"] for asked in server.asked if asked.line == PROJECTS] == ["0", "50", "100"]


def test_an_unknown_project_is_told_with_its_neighbours(server: Scripted, runai: RunaiClient) -> None:
    server.script(PROJECTS, Reply(body={"projects": []}), Reply(body={"projects": [{**PROJECT, "name": "teams"}]}))
    with pytest.raises(RefusedError, match="no project 'team'") as caught:
        runai.submit(REQUEST, NAME)
    assert "Did you mean 'teams'?" in str(caught.value)
    assert CREATE not in server.lines


@pytest.mark.parametrize("body", [None, [], {"projects": None}, {"projects": [None, {"name": "team"}]}])
def test_projects_of_another_shape_are_none(server: Scripted, runai: RunaiClient, body: object) -> None:
    server.script(PROJECTS, Reply(body=body))
    with pytest.raises(RefusedError, match="no project 'team'"):
        runai.submit(REQUEST, NAME)


def test_no_runai_there_is_told(server: Scripted, runai: RunaiClient) -> None:
    server.script(PROJECTS, Reply(status=404))
    with pytest.raises(RefusedError, match="base_url ends with /api/v1"):
        runai.submit(REQUEST, NAME)


PHASES = {
    "Creating": JobState.QUEUED,
    "Pending": JobState.QUEUED,
    "Initializing": JobState.STARTING,
    "Resuming": JobState.STARTING,
    "Running": JobState.RUNNING,
    "Updating": JobState.RUNNING,
    "Degraded": JobState.RUNNING,
    "Stopping": JobState.STOPPING,
    "Deleting": JobState.STOPPING,
    "Terminating": JobState.STOPPING,
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Stopped": JobState.CANCELLED,
    "Unknown": JobState.UNKNOWN,
    "Something New": JobState.UNKNOWN,
}


@pytest.mark.parametrize(("name", "state"), PHASES.items())
def test_every_phase(server: Scripted, runai: RunaiClient, name: str, state: JobState) -> None:
    server.script(f"GET {ONE}", phase(name))
    assert runai.look(SUBMITTED) == Seen(state, name)


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply(body={"phase": "Running"}), JobState.RUNNING),
        (Reply(body={}), JobState.UNKNOWN),
        (Reply(), JobState.UNKNOWN),
        (Reply(status=404), JobState.LOST),
        (Reply(status=500), JobState.UNREACHABLE),
        (Reply(status=429), JobState.UNREACHABLE),
        (Reply(fault="reset"), JobState.UNREACHABLE),
    ],
)
def test_other_answers(server: Scripted, runai: RunaiClient, reply: Reply, state: JobState) -> None:
    server.script(f"GET {ONE}", reply)
    assert runai.look(SUBMITTED).state is state


def test_a_new_workload_that_is_not_there_yet_is_not_gone(server: Scripted, runai: RunaiClient, time: FakeTime) -> None:
    server.script(CREATE, CREATED)
    runai.submit(REQUEST, NAME)
    assert runai.look(SUBMITTED).state is JobState.UNKNOWN
    time.sleep(60)
    assert runai.look(SUBMITTED).state is JobState.LOST


def test_pods_are_paged_and_in_order(server: Scripted, runai: RunaiClient) -> None:
    path = f"GET /api/v1/workloads/{ID}/pods"
    names = [f"{NAME}-worker-{number}" for number in range(60)]
    first = Reply(body={"pods": [{"name": name} for name in reversed(names[10:])], "next": 1})
    server.script(path, first, Reply(body={"pods": [{"name": name} for name in names[:10]]}))
    assert runai.pods(SUBMITTED) == tuple(names)


def test_pods_of_a_workload_that_has_none(server: Scripted, runai: RunaiClient) -> None:
    assert runai.pods(SUBMITTED) == ()
    server.script(f"GET /api/v1/workloads/{ID}/pods", Reply(body={"pods": []}))
    assert runai.pods(SUBMITTED) == ()


def test_where_runai_does_not_list_pods_the_cluster_does(server: Scripted, runai: RunaiClient) -> None:
    names = [f"{NAME}-worker-0", f"{NAME}-master-0", "somebody-elses-worker-0", f"{NAME}2-worker-0"]
    server.script(f"GET /api/v1/workloads/{ID}/pods", Reply(status=403))
    items = [*({"metadata": {"name": name}} for name in names), None]
    server.script("GET /k8s/api/v1/namespaces/runai-team/pods", Reply(body={"items": items}))
    assert runai.pods(SUBMITTED) == (f"{NAME}-master-0", f"{NAME}-worker-0")


def test_a_log_comes_from_the_cluster(server: Scripted, runai: RunaiClient) -> None:
    path = f"GET /k8s/api/v1/namespaces/runai-team/pods/{NAME}-worker-0/log"
    waiting = Reply(status=400, body={"message": "container is waiting to start: ContainerCreating"})
    server.script(path, waiting, Reply(chunks=(b"one\ntw",), fault="cut"), Reply(chunks=(b"one\ntwo\nlast",)))
    server.script(f"GET {ONE}", phase("Pending"), *[phase("Running")] * 3, phase("Completed"))
    assert list(runai.log(SUBMITTED, f"{NAME}-worker-0")) == ["one", "two", "last"]
    (asked, *_) = (asked for asked in server.asked if asked.line == path)
    assert asked.query == {"follow": "true"}
    assert asked.headers["Authorization"] == "Bearer t1"


def test_the_namespace_that_runai_names_counts(server: Scripted, runai: RunaiClient) -> None:
    server.script(PROJECTS, Reply(body={"projects": [{**PROJECT, "status": {"namespace": "own"}}]}))
    server.script("GET /k8s/api/v1/namespaces/own/pods/p/log", Reply(chunks=(b"a\n",)))
    server.script(f"GET {ONE}", phase("Completed"))
    assert list(runai.log(SUBMITTED, "p")) == ["a"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_cluster_that_does_not_take_the_token_is_told(server: Scripted, runai: RunaiClient, status: int) -> None:
    server.script("GET /k8s/api/v1/namespaces/runai-team/pods/p/log", Reply(status=status))
    server.script(f"GET {ONE}", phase("Running"))
    with pytest.raises(DeniedError, match="its Kubernetes API has to take run:ai's tokens"):
        list(runai.log(SUBMITTED, "p"))


@pytest.mark.parametrize("kind", ["distributed", "trainings"])
@pytest.mark.parametrize("state", ["Creating", "Pending", "Running", "Degraded", "Unknown"])
def test_cancel_suspends_and_deletes(server: Scripted, runai: RunaiClient, state: str, kind: str) -> None:
    path = f"/api/v1/workloads/{kind}/{ID}"
    server.script(
        f"GET {path}",
        phase(state),
        phase("Stopping"),
        phase("Stopped"),
        phase("Stopped"),
        phase("Deleting"),
        Reply(status=404),
    )
    server.script(f"POST {path}/suspend", Reply(status=202))
    server.script(f"DELETE {path}", Reply(status=202))
    runai.cancel(replace(SUBMITTED, kind=kind))
    asked = [line for line in calls(server) if not line.startswith("GET")]
    assert asked == [f"POST {path}/suspend", f"DELETE {path}"]
    assert server.lines[-1] == f"GET {path}"


@pytest.mark.parametrize("reply", [phase("Completed"), phase("Failed"), phase("Stopped"), Reply(status=404)])
def test_cancel_leaves_what_is_over_alone(server: Scripted, runai: RunaiClient, reply: Reply) -> None:
    server.script(f"GET {ONE}", reply)
    runai.cancel(SUBMITTED)
    assert calls(server) == [f"GET {ONE}"]


def test_what_ends_while_it_is_cancelled_keeps_its_record(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", phase("Running"), phase("Completed"))
    server.script(f"POST {ONE}/suspend", Reply(status=400))
    runai.cancel(SUBMITTED)
    assert f"DELETE {ONE}" not in server.lines


def test_what_cannot_be_suspended_is_deleted(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", *[phase("Creating")] * 3, Reply(status=404))
    server.script(f"POST {ONE}/suspend", Reply(status=405))
    server.script(f"DELETE {ONE}", Reply(status=202))
    runai.cancel(SUBMITTED)
    assert f"DELETE {ONE}" in server.lines


def test_a_workload_just_submitted_can_be_cancelled(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, CREATED)
    server.script(
        f"GET {ONE}", Reply(status=404), Reply(status=404), phase("Stopped"), phase("Stopped"), Reply(status=404)
    )
    server.script(f"POST {ONE}/suspend", Reply(status=404), Reply(status=202))
    server.script(f"DELETE {ONE}", Reply(status=202))
    runai.submit(REQUEST, NAME)
    runai.cancel(SUBMITTED)
    assert server.lines.count(f"POST {ONE}/suspend") == 2
    assert f"DELETE {ONE}" in server.lines


def test_a_cancellation_that_never_comes_is_told(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", phase("Terminating"))
    server.script(f"POST {ONE}/suspend", Reply(status=202))
    server.script(f"DELETE {ONE}", Reply(status=202))
    with pytest.raises(PlatformError, match=f"has not deleted the workload '{NAME}': it is 'Terminating'"):
        runai.cancel(SUBMITTED)


def test_a_denied_cancellation_is_told(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", phase("Running"))
    server.script(f"POST {ONE}/suspend", Reply(status=403))
    with pytest.raises(DeniedError, match="does not permit POST"):
        runai.cancel(SUBMITTED)
