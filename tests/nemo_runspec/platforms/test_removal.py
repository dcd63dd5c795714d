from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from tests.nemo_runspec.platforms.runai_answers import ID, LIST, NAME, ONE, SUBMITTED, phase
from tests.nemo_runspec.platforms.scripted import Reply, Scripted

if TYPE_CHECKING:
    from nemo_runspec.platforms.runai import RunaiClient
    from tests.nemo_runspec.platforms.scripted import FakeTime

LEPTON_JOB = Submitted("lepton", "job", NAME, NAME)
JOB = f"/jobs/{NAME}"


@pytest.fixture
def lepton(server: Scripted, time: FakeTime) -> LeptonClient:
    return LeptonClient(server.url, "token", patience=time.patience(look_s=2))


@pytest.mark.parametrize("state", [state for state in JobState if not state.is_final])
def test_nothing_of_what_may_still_run_is_removed(state: JobState) -> None:
    removed: list[str] = []
    expected = UnreachableError if state is JobState.UNREACHABLE else RefusedError
    with pytest.raises(expected, match="'x'"):
        remove_ended("x", Seen(state), lambda: removed.append("x"))
    assert removed == []


def test_a_lepton_job_is_found_by_its_name(server: Scripted, lepton: LeptonClient) -> None:
    server.script(f"GET {JOB}", Reply(body={"metadata": {"id": "its-own"}}), Reply(body={}), Reply(status=404))
    assert lepton.find("job", NAME) == Submitted("lepton", "job", "its-own", NAME)
    assert lepton.find("job", NAME) == LEPTON_JOB
    assert lepton.find("job", NAME) is None


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(fault="drop"), Reply(status=302), Reply(body=b"<html>")])
def test_what_lepton_does_not_say_is_not_taken_for_no(server: Scripted, lepton: LeptonClient, reply: Reply) -> None:
    server.script(f"GET {JOB}", reply)
    with pytest.raises(UnreachableError):
        lepton.find("job", NAME)


def test_a_denied_look_finds_nothing_out(server: Scripted, lepton: LeptonClient) -> None:
    server.script(f"GET {JOB}", Reply(status=403))
    with pytest.raises(DeniedError):
        lepton.find("job", NAME)


def test_an_ended_lepton_job_is_deleted(server: Scripted, lepton: LeptonClient) -> None:
    server.script(f"GET {JOB}", Reply(body={"metadata": {"id": NAME}, "status": {"state": "Completed"}}))
    server.script(f"DELETE {JOB}", Reply(body={}), Reply(status=404))
    lepton.remove(LEPTON_JOB)
    lepton.remove(LEPTON_JOB)
    assert server.lines.count(f"DELETE {JOB}") == 2


def test_a_runai_workload_is_found_by_its_name(server: Scripted, runai: RunaiClient) -> None:
    listed = {"name": NAME, "id": ID, "projectId": 33}
    server.script(LIST, Reply(body={"workloads": [listed]}), Reply(body={"workloads": []}))
    assert runai.find(SUBMITTED.kind, NAME) == SUBMITTED
    assert runai.find(SUBMITTED.kind, NAME) is None


def test_what_runai_does_not_say_is_not_taken_for_no(server: Scripted, runai: RunaiClient) -> None:
    server.script(LIST, Reply(status=404))
    with pytest.raises(PlatformError):
        runai.find(SUBMITTED.kind, NAME)


def test_an_ended_runai_workload_is_deleted(server: Scripted, runai: RunaiClient) -> None:
    server.script(f"GET {ONE}", phase("Failed"), phase("Running"), Reply(status=404))
    server.script(f"DELETE {ONE}", Reply(status=202))
    runai.remove(SUBMITTED)
    with pytest.raises(RefusedError, match="is running"):
        runai.remove(SUBMITTED)
    runai.remove(SUBMITTED)
    assert server.lines.count(f"DELETE {ONE}") == 1
