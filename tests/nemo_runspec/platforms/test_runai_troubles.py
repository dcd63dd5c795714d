from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from tests.nemo_runspec.platforms.runai_answers import (
    CREATE,
    ID,
    LIST,
    NAME,
    ONE,
    REQUEST,
    SUBMITTED,
    phase,
)
from tests.nemo_runspec.platforms.scripted import Reply, Scripted

if TYPE_CHECKING:
    from nemo_runspec.platforms.runai import RunaiClient
    from tests.nemo_runspec.platforms.scripted import FakeTime

UNRESOLVED = [replace(SUBMITTED, id=NAME), replace(SUBMITTED, id="")]
LISTED = Reply(body={"workloads": [{"name": NAME, "id": ID, "projectId": 33}]})
NOT_LISTED = Reply(body={"workloads": [{"name": f"{NAME}-2", "id": "x"}]})


@pytest.mark.parametrize("unresolved", UNRESOLVED, ids=["name", "empty"])
def test_a_workload_whose_identifier_was_never_heard_is_found_by_its_name(
    server: Scripted, runai: RunaiClient, unresolved: Submitted
) -> None:
    server.script(LIST, LISTED)
    server.script(f"GET {ONE}", phase("Running"), phase("Running"), phase("Completed"))
    server.script(f"GET /api/v1/workloads/{ID}/pods", Reply(body={"pods": [{"name": f"{NAME}-worker-0"}]}))
    server.script(f"GET /k8s/api/v1/namespaces/runai-team/pods/{NAME}-worker-0/log", Reply(chunks=(b"a\n",)))
    assert runai.look(unresolved) == Seen(JobState.RUNNING, "Running")
    assert runai.pods(unresolved) == (f"{NAME}-worker-0",)
    assert list(runai.log(unresolved, f"{NAME}-worker-0")) == ["a"]
    assert server.lines.count(LIST) == 1


@pytest.mark.parametrize("unresolved", UNRESOLVED, ids=["name", "empty"])
def test_it_is_cancelled_by_its_name_too(server: Scripted, runai: RunaiClient, unresolved: Submitted) -> None:
    server.script(LIST, LISTED)
    server.script(f"GET {ONE}", phase("Running"), phase("Stopped"), phase("Stopped"), Reply(status=404))
    server.script(f"POST {ONE}/suspend", Reply(status=202))
    server.script(f"DELETE {ONE}", Reply(status=202))
    runai.cancel(unresolved)
    assert f"POST {ONE}/suspend" in server.lines
    assert f"DELETE {ONE}" in server.lines


@pytest.mark.parametrize("unresolved", UNRESOLVED, ids=["name", "empty"])
def test_only_what_the_list_does_not_have_is_gone(server: Scripted, runai: RunaiClient, unresolved: Submitted) -> None:
    server.script(LIST, NOT_LISTED)
    assert runai.look(unresolved).state is JobState.LOST
    assert runai.pods(unresolved) == ()
    runai.cancel(unresolved)


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(status=400), Reply(status=302), Reply(body=b"<html>")])
def test_a_list_that_cannot_be_read_is_no_end(server: Scripted, runai: RunaiClient, reply: Reply) -> None:
    server.script(LIST, reply)
    assert runai.look(UNRESOLVED[0]).state is JobState.UNREACHABLE


def test_a_list_that_is_denied_is_told(server: Scripted, runai: RunaiClient) -> None:
    server.script(LIST, Reply(status=403))
    with pytest.raises(DeniedError):
        runai.look(UNRESOLVED[0])


def test_a_lost_reply_and_a_refused_token_leave_a_name_to_look_for(server: Scripted, runai: RunaiClient) -> None:
    server.script(CREATE, Reply(fault="drop"))
    server.script(LIST, Reply(status=401), Reply(status=401), NOT_LISTED, LISTED)
    server.script(f"GET {ONE}", phase("Running"))
    with pytest.raises(UnreachableError, match=f"not known whether the workload '{NAME}' was created"):
        runai.submit(REQUEST, NAME)
    assert runai.look(UNRESOLVED[0]).state is JobState.UNKNOWN
    assert runai.look(UNRESOLVED[0]).state is JobState.RUNNING


@pytest.mark.parametrize("odd", [Reply(status=302), Reply(status=400), Reply(body=b"<html>")])
def test_an_odd_answer_ends_no_waiting(server: Scripted, runai: RunaiClient, time: FakeTime, odd: Reply) -> None:
    server.script(f"GET {ONE}", odd, phase("Running"))
    assert runai.look(SUBMITTED).state is JobState.RUNNING
    server.script(f"GET {ONE}", odd)
    assert runai.look(SUBMITTED).state is JobState.UNREACHABLE
    assert 29 < sum(time.waits) < 32


@pytest.mark.parametrize("status", [503, 403])
def test_a_list_of_pods_that_fails_is_soon_given_up(
    server: Scripted, runai: RunaiClient, time: FakeTime, status: int
) -> None:
    """Also that of the cluster, which is asked instead."""
    server.script(f"GET /api/v1/workloads/{ID}/pods", Reply(status=status))
    server.script("GET /k8s/api/v1/namespaces/runai-team/pods", Reply(status=503))
    with pytest.raises(UnreachableError):
        runai.pods(SUBMITTED)
    assert sum(time.waits) < 12


def test_containers_that_write_the_same_are_told_apart(server: Scripted, runai: RunaiClient) -> None:
    def restarted(*counts: object) -> Reply:
        containers = [{"name": "c", "restarts": count} for count in counts]
        return Reply(body={"pods": [{"name": "p", "containers": containers}, {"name": "q"}]})

    listed = [restarted(0), restarted(None), Reply(status=400), Reply(body={}), restarted(0), restarted(1)]
    server.script(f"GET /api/v1/workloads/{ID}/pods", *listed)
    server.script("GET /k8s/api/v1/namespaces/runai-team/pods/p/log", Reply(chunks=(b"a\nb\n",)))
    server.script(f"GET {ONE}", *[phase("Running")] * 10, phase("Completed"))
    assert list(runai.log(SUBMITTED, "p")) == ["a", "b"] * 2
