from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.rehearsal.runai_rules import workload_issues
from tests.nemo_runspec.rehearsal.plain_pods import RUNAI, distributed, runai_workload


def issues(body: dict[str, Any], kind: str = "trainings", claims: frozenset[tuple[str, str]] = frozenset()) -> str:
    found = workload_issues(kind, body, RUNAI, claims)
    return "; ".join(f"{field}: {problem}" for field, problem in found.items())


def test_a_whole_workload_is_accepted() -> None:
    body = runai_workload(
        "whole",
        "python3",
        "-c 'print(1)' " + "x" * 9_900,
        compute={"gpuDevicesRequest": 0, "largeShmRequest": True},
        environmentVariables=[
            {"name": "A", "value": "x" * 10_000},
            {"name": "B", "secret": {"name": "hf", "key": "token"}},
        ],
        storage={"pvc": [{"path": "/mnt/team", "claimName": "team", "existingPvc": True}, {"path": "/new"}]},
        **distributed(2),
    )
    assert issues({**body, "useGivenNameAsPrefix": True, "masterSpecSameAsWorker": True}, "distributed") == ""


def test_every_documented_field_is_accepted() -> None:
    more = {
        "imagePullPolicy": "Always",
        "workingDir": "/",
        "createHomeDir": True,
        "nodeType": "h100",
        "nodePools": ["default"],
        "priorityClass": "low",
        "preemptibility": "preemptible",
        "restartPolicy": "Never",
        "labels": [],
        "annotations": [],
        "tolerations": [],
        "ports": [],
        "exposedUrls": [],
        "relatedUrls": [],
        "podAffinity": None,
        "category": "Train",
        "terminateAfterPreemption": False,
        "terminationGracePeriodSeconds": 30,
        "autoDeletionTimeAfterCompletionSeconds": 60,
        "security": {"runAsUid": 500, "runAsNonRoot": True},
        "compute": {"cpuCoreRequest": 0.5, "cpuMemoryRequest": "2G", "gpuPortionRequest": 0.5},
        "storage": {"emptyDirVolume": []},
    }
    assert issues(runai_workload("fields", "true", completions=1, parallelism=1, **more)) == ""
    assert issues(runai_workload("fields", "true", **distributed(2), cleanPodPolicy="All", **more), "distributed") == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"imagePulPolicy": "Always"}, "imagePulPolicy: is not a field of this object"),
        ({"numWorkers": 2}, "numWorkers: is not a field of this object"),
        ({"compute": {"gpuDevicesReqest": 8}}, "compute.gpuDevicesReqest: is not a field"),
        ({"storage": {"pvcs": []}}, "storage.pvcs: is not a field"),
        ({"security": {"runAsUser": 0}}, "security.runAsUser: is not a field"),
        ({"security": "none"}, "security: must be an object"),
        ({"environmentVariables": [{"name": "A", "value": "", "values": ""}]}, "[0].values: is not a field"),
        ({"image": ""}, "image: must be a text"),
        ({"command": None}, "command: must be a text"),
        ({"command": "x" * 10_001}, "command: value must be no longer than 10000 characters"),
        ({"args": "x" * 10_001}, "args: value must be no longer than 10000 characters, and has 10001"),
        ({"args": "'open"}, "args: cannot be split into words"),
        ({"backoffLimit": -1}, "backoffLimit"),
        ({"compute": {"gpuDevicesRequest": 0.5}}, "compute.gpuDevicesRequest: must be a whole number"),
        ({"compute": {"largeShmRequest": "yes"}}, "compute.largeShmRequest"),
        ({"environmentVariables": [{"name": "A", "value": "x" * 10_001}]}, "and has 10001"),
        ({"environmentVariables": [{"name": "1 A", "value": ""}]}, "environmentVariables[0].name"),
        ({"environmentVariables": [{"name": "A"}]}, "exactly one of"),
        ({"environmentVariables": [{"name": "A", "value": "", "secret": {}}]}, "exactly one of"),
        ({"environmentVariables": [{"name": "A", "value": 1}]}, "must be a text"),
        ({"environmentVariables": [{"name": "A", "secret": {"name": "no", "key": "k"}}]}, "secret 'no' does not"),
        ({"environmentVariables": [{"name": "A", "secret": {"name": "hf", "key": "k"}}]}, "has no key 'k'"),
        ({"environmentVariables": [{"name": "A", "configMap": {"name": "x"}}]}, "nothing that a rehearsal has"),
        ({"storage": {"pvc": [{"claimName": "team"}]}}, "storage.pvc[0].path"),
        ({"storage": {"pvc": [{"path": "/a", "claimName": "no", "existingPvc": True}]}}, "claim 'no' does not exist"),
        ({"storage": {"pvc": [{"path": "/a", "existingPvc": True}]}}, "does not exist"),
        ({"storage": {"pvc": [{"path": "/a", "claimName": "x" * 64}]}}, "up to 63"),
        ({"storage": {"pvc": [{"path": "/a", "claimname": "x"}]}}, "storage.pvc[0].claimname: is not a field"),
        ({"storage": {"pvc": [{"path": "/"}]}}, "storage.pvc"),
    ],
)
def test_what_the_platform_refuses(change: dict[str, Any], says: str) -> None:
    assert says in issues(runai_workload("refused", "true", **change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "Upper"}, "name: "),
        ({"name": "a" * 36}, "name: "),
        ({"name": ""}, "name: "),
        ({"projectId": "9"}, "project '9' does not exist"),
        ({"clusterId": "9"}, "cluster '9' does not exist"),
        ({"spec": None}, "spec: must be an object"),
        ({"masterSpecSameAsWorker": True}, "masterSpecSameAsWorker: is not a field"),
        ({"useGivenNameAsPrefix": "yes"}, "useGivenNameAsPrefix"),
    ],
)
def test_what_the_platform_refuses_around_the_specification(change: dict[str, Any], says: str) -> None:
    assert says in issues({**runai_workload("refused", "true"), **change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"numWorkers": None}, "numWorkers"),
        ({"numWorkers": 0}, "no less than 1"),
        ({"distributedFramework": None}, "distributedFramework"),
        ({"distributedFramework": "Torch"}, "must be one of"),
        ({"distributedFramework": "MPI"}, "it has PyTorch"),
        ({"maxReplicas": 1}, "no less than minReplicas, 2"),
    ],
)
def test_what_the_platform_refuses_of_several_pods(change: dict[str, Any], says: str) -> None:
    assert says in issues(runai_workload("refused", "true", **{**distributed(2), **change}), "distributed")


def test_a_claim_that_a_workload_made_exists_in_its_project() -> None:
    pvc = {"path": "/a", "claimName": "made", "existingPvc": True}
    body = runai_workload("second", "true", storage={"pvc": [pvc]})
    assert issues(body, claims=frozenset({("1001", "made")})) == ""
    assert "does not exist" in issues(body, claims=frozenset({("1002", "made")}))
