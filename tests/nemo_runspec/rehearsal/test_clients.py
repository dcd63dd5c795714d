"""This project's clients and twins, written apart from each other's code, agree on both platforms."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import requests

from nemo_runspec.errors import DeniedError, RefusedError
from nemo_runspec.platforms import lepton, runai
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.workload import JobState, Request, Submitted, Workload
from nemo_runspec.rehearsal.faults import Fault, FaultKind
from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, RUNAI, PlainRunner, new_twin, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.platforms.workload import Platform
    from nemo_runspec.rehearsal.twin import Twin

AWKWARD = "quote ' \" $(HOME) $$(A) $$ \\ é\ttab\nline ${RUNAI_PROJECTS} `x` *"

QUICK = Patience(first_wait_s=0.01, poll_s=0.02)


@dataclass
class Place:
    """A platform's twin with the client that talks to it."""

    twin: Twin
    runner: PlainRunner
    client: Platform

    def request(self, *argv: str, nodes: int = 1, env: tuple[tuple[str, str], ...] = ()) -> Request:
        workload = Workload(image="some/image:1", nodes=nodes, argv=argv, env=env, secrets=(("S", "canary"),))
        if isinstance(self.client, lepton.LeptonClient):
            settings = lepton.LeptonSettings(resource_shape="gpu.8xh100-sxm", node_group="my-group")
            return lepton.request(workload, settings)
        return runai.request(workload, runai.RunaiSettings(project_name="two"))

    def ended(self, workload: Submitted) -> JobState:
        until(lambda: self.client.look(workload).state.is_final)
        return self.client.look(workload).state


@pytest.fixture(params=["lepton", "runai"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    inventory = LEPTON if request.param == "lepton" else RUNAI
    twin, runner = new_twin(tmp_path, inventory)
    with twin:
        client: Platform
        if request.param == "lepton":
            client = lepton.LeptonClient(twin.url, LEPTON.token, patience=QUICK)
        else:
            secret = RUNAI.client_secret
            client = runai.RunaiClient(
                twin.url, twin.kubernetes_url, RUNAI.client_id, lambda: secret, "two", "some-profile", patience=QUICK
            )
        yield Place(twin, runner, client)


def test_words_and_values_arrive_as_they_were(place: Place) -> None:
    show = shlex.join(["printf", "%s|", AWKWARD])
    request = place.request("sh", "-c", f'{show} "$@" "$A"', "sh", AWKWARD, env=(("HOME", "/"), ("A", AWKWARD)))
    workload = place.client.submit(request, "awkward-abc123")
    assert place.ended(workload) is JobState.SUCCEEDED
    (pod,) = place.twin.workloads[0].pods
    assert pod.log.read_text(encoding="utf-8") == f"{AWKWARD}|" * 3


def test_a_job_of_two_pods_its_logs_and_its_end(place: Place) -> None:
    workload = place.client.submit(place.request("sh", "-c", "echo one; echo two; exit 0", nodes=2), "two-abc123")
    assert workload.name == "two-abc123"
    until(lambda: len(place.client.pods(workload)) == 2)
    for pod in place.client.pods(workload):
        assert pod.startswith("two-abc123-")
        assert list(place.client.log(workload, pod)) == ["one", "two"]
    assert place.ended(workload) is JobState.SUCCEEDED
    failing = place.client.submit(place.request("false"), "fails-abc123")
    assert place.ended(failing) is JobState.FAILED


def test_cancel_ends_the_pods(place: Place) -> None:
    workload = place.client.submit(place.request("sleep", "100", nodes=2), "sleeps-abc123")
    until(lambda: len(place.runner.pods) == 2)
    place.client.cancel(workload)
    assert [pod.poll() for pod in place.runner.pods] == [143, 143]
    assert place.client.look(workload).state in {JobState.CANCELLED, JobState.LOST}


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.DROP_REPLY, FaultKind.RESET_BEFORE])
def test_a_lost_answer_makes_one_workload(place: Place, kind: FaultKind) -> None:
    request = place.request("true")
    place.twin.faults.add(Fault(kind=kind, method="POST", path="*/jobs"))
    place.twin.faults.add(Fault(kind=kind, method="POST", path="*/trainings"))
    workload = place.client.submit(request, "once-abc123")
    assert [seen.name for seen in place.twin.workloads] == ["once-abc123"]
    assert place.twin.workloads[0].id == workload.id


def test_what_a_platform_does_not_have_or_permit_is_told(place: Place) -> None:
    request = place.request("true")
    place.client.submit(request, "taken-abc123")
    with pytest.raises(RefusedError):
        place.client.submit(request, "taken-abc123")
    place.twin.faults.add(Fault(kind=FaultKind.STATUS, status=403))
    with pytest.raises(DeniedError):
        place.client.submit(request, "denied-abc123")


@pytest.mark.parametrize("status", [400, 401])
def test_a_wrong_secret_is_told_whatever_the_installation_answers(tmp_path: Path, status: int) -> None:
    twin, _ = new_twin(tmp_path, replace(RUNAI, wrong_secret_status=status))
    with twin:
        client = runai.RunaiClient(
            twin.url, twin.kubernetes_url, RUNAI.client_id, lambda: "wrong", "two", "some-profile", patience=QUICK
        )
        with pytest.raises(DeniedError) as caught:
            client.look(Submitted("dgxcloud", "trainings", "id", "name"))
    assert "some-profile" in str(caught.value.remedy)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_deleted_job_is_gone_whether_or_not_the_archive_has_it(tmp_path: Path, *, keeps: bool) -> None:
    twin, _ = new_twin(tmp_path, replace(LEPTON, keeps_deleted=keeps))
    with twin:
        place = Place(twin, PlainRunner(), lepton.LeptonClient(twin.url, LEPTON.token, patience=QUICK))
        workload = place.client.submit(place.request("sleep", "100"), "gone-abc123")
        until(lambda: place.client.look(workload).state is JobState.RUNNING)
        requests.delete(
            f"{twin.url}/jobs/{workload.id}", headers={"Authorization": f"Bearer {LEPTON.token}"}, timeout=10
        ).raise_for_status()
        until(lambda: place.client.look(workload).state is JobState.LOST)


def test_a_typing_error_in_custom_spec_does_not_pass(place: Place) -> None:
    if isinstance(place.client, lepton.LeptonClient):
        lepton_settings = lepton.LeptonSettings(
            resource_shape="gpu.8xh100-sxm", node_group="my-group", custom_spec={"visbility": "private"}
        )
        request = lepton.request(Workload(image="i", nodes=1, argv=("true",)), lepton_settings)
    else:
        settings = runai.RunaiSettings(project_name="two", custom_spec={"nodePool": ["a100"]})
        request = runai.request(Workload(image="i", nodes=1, argv=("true",)), settings)
    with pytest.raises(RefusedError, match=r"visbility|nodePool"):
        place.client.submit(request, "typo-abc123")
    assert place.twin.workloads == ()
