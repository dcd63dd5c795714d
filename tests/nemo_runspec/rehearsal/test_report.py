from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.platforms.workload import CLUSTER_ID, NAME, NODE_GROUP_ID, PROJECT_ID, Request
from nemo_runspec.rehearsal.report import evidence_of, unassigned
from nemo_runspec.rehearsal.request_log import LoggedRequest
from nemo_runspec.rehearsal.workloads import Order, Phase, PodSeen, WorkloadSeen

if TYPE_CHECKING:
    from collections.abc import Mapping

BOOT = json.dumps({"source": {"sha256": "ab" * 32, "chunks": 1}, "job": {"sha256": "cd" * 32}})
ENVS = [
    {"name": "NEMO_RUNSPEC_BOOT", "value": BOOT},
    {"name": "JOB", "value": f"/mnt/nfs/jobs/{NAME}"},
    {"name": "LONG", "value": "ü" * 100},
    {"name": "HF_TOKEN", "value_from": {"secret_name_ref": "hf"}},
]
LEPTON = Request(
    "lepton",
    "job",
    {
        "metadata": {"id": NAME},
        "spec": {"affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]}, "envs": ENVS, "note": "ng-000"},
    },
)
RUNAI = Request(
    "dgxcloud",
    "distributed",
    {
        "name": NAME,
        "projectId": PROJECT_ID,
        "clusterId": CLUSTER_ID,
        "spec": {"environmentVariables": ENVS, "note": "project 1001"},
    },
)
ASSIGNED = {NAME: "sft-x1y2z3", NODE_GROUP_ID: "ng-000", PROJECT_ID: "1001", CLUSTER_ID: "5f0c"}


def workload(
    kind: str, body: Mapping[str, Any], name: str = "sft-x1y2z3", codes: tuple[int | None, ...] = ()
) -> WorkloadSeen:
    order = Order(id="id-1", name=name, kind=kind, body=body, pods=(), waiting=("Queueing",), resuming=("Starting",))
    pods = []
    for index, code in enumerate(codes):
        pod = PodSeen(
            name=f"{name}-{index}",
            index=index,
            exit_code=code,
            restarts=0,
            log=Path("log"),
            is_started=True,
            is_ready=True,
        )
        pods.append(pod)
    return WorkloadSeen(
        key=1,
        order=order,
        phase=Phase.RUNNING,
        word="",
        was_ready=True,
        pods=tuple(pods),
        created_s=0.0,
        finished_s=None,
        history=(),
    )


def test_the_digest_of_what_was_received_is_that_of_the_request() -> None:
    for request in (LEPTON, RUNAI):
        seen = workload(request.kind, request.filled(ASSIGNED))
        assert unassigned(seen) == request.body
        assert evidence_of([seen], []).body_sha256 == request.digest


def test_another_body_has_another_digest() -> None:
    body = RUNAI.filled(ASSIGNED)
    body["spec"]["note"] = "another"
    assert evidence_of([workload("distributed", body)], []).body_sha256 != RUNAI.digest


def test_a_job_may_be_for_any_node_group() -> None:
    specs: tuple[dict[str, Any], ...] = ({}, {"affinity": None}, {"affinity": {"allowed_nodes_in_node_group": []}})
    for spec in specs:
        body = {"metadata": {"id": "a"}, "spec": spec}
        assert unassigned(workload("job", body)) == body


def test_evidence_is_counted_and_measured() -> None:
    first = workload("job", {"spec": {}}, name="earlier", codes=(0,))
    second = workload("job", LEPTON.filled(ASSIGNED), codes=(0, None))
    evidence = evidence_of([first, second], [LoggedRequest("GET", "/jobs", 200)] * 7)
    assert (evidence.workloads_created, evidence.api_calls) == (2, 7)
    assert evidence.archive_sha256 == "ab" * 32
    assert evidence.largest_value_bytes == 200
    assert evidence.environment_bytes == sum(
        len(f"{name}={value}\0".encode())
        for name, value in (
            ("NEMO_RUNSPEC_BOOT", BOOT),
            ("JOB", "/mnt/nfs/jobs/sft-x1y2z3"),
            ("LONG", "ü" * 100),
        )
    )
    assert evidence.pods == (
        {"name": "earlier-0", "exit_code": 0},
        {"name": "sft-x1y2z3-0", "exit_code": 0},
        {"name": "sft-x1y2z3-1", "exit_code": None},
    )


def test_pods_that_the_platform_stopped_are_named_beside_the_promised_keys() -> None:
    seen = workload("job", LEPTON.filled(ASSIGNED), codes=(143, 7))
    pods = (replace(seen.pods[0], was_stopped=True), seen.pods[1])
    evidence = evidence_of([replace(seen, pods=pods)], [])
    assert evidence.stopped == ("sft-x1y2z3-0",)
    assert [set(pod) for pod in evidence.pods] == [{"name", "exit_code"}] * 2


def test_without_a_workload_there_is_nothing_to_measure() -> None:
    evidence = evidence_of([], [LoggedRequest("POST", "/jobs", 400)])
    assert (evidence.workloads_created, evidence.api_calls, evidence.body_sha256, evidence.pods) == (0, 1, "", ())


def test_a_job_may_carry_no_source() -> None:
    for envs in ([], [{"name": "NEMO_RUNSPEC_BOOT", "value": '{"source": null}'}]):
        evidence = evidence_of([workload("job", {"spec": {"envs": envs}})], [])
        assert evidence.archive_sha256 == ""


def test_a_ray_cluster_is_measured_by_one_of_its_groups() -> None:
    digest = "ef" * 32
    envs = [{"name": "JOB", "value": f"/mnt/{NAME}"}, {"name": "NEMO_RUNSPEC_RAY_PACKAGE", "value": digest}]
    group = {"affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]}, "envs": envs}
    spec = {"head_group_spec": group, "worker_group_specs": [group]}
    request = Request("lepton", "raycluster", {"metadata": {"id": NAME, "name": NAME}, "spec": spec})
    found = evidence_of([workload("raycluster", request.filled(ASSIGNED))], ())
    assert found.body_sha256 == request.digest
    assert found.archive_sha256 == digest
    assert found.largest_value_bytes == len(digest)
