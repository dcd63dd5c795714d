from __future__ import annotations

import shlex
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.runai import RunaiSettings, request
from nemo_runspec.platforms.workload import CLUSTER_ID, NAME, PROJECT_ID, Workload, canonical

WORKLOAD = Workload(
    image="nvcr.io/nvidia/nemo:25.11",
    nodes=2,
    gpus_per_node=8,
    argv=("python3", "-c", "print('it')\n$(A)", "bash", "/nemo_run/launch.sh"),
    env=(("A", "exact $$ value"),),
    secrets=(("WANDB_API_KEY", "hunter2-canary"),),
    secret_references={"HF_TOKEN": "hf", "OTHER": "store/some.key"},
)
PVC = MappingProxyType({"path": "/mnt/workspace", "claimName": "team-workspace", "existingPvc": True})
SETTINGS = RunaiSettings(project_name="my-project", pvcs=(PVC,))


def test_the_request_for_several_pods() -> None:
    asked = request(WORKLOAD, SETTINGS)
    assert (asked.platform, asked.kind, asked.secret_variables) == (
        "dgxcloud",
        "distributed",
        frozenset({"WANDB_API_KEY"}),
    )
    assert asked.body == {
        "name": NAME,
        "useGivenNameAsPrefix": False,
        "projectId": PROJECT_ID,
        "clusterId": CLUSTER_ID,
        "spec": {
            "command": "python3",
            "args": shlex.join(["-c", "print('it')\n$$(A)", "bash", "/nemo_run/launch.sh"]),
            "image": "nvcr.io/nvidia/nemo:25.11",
            "compute": {"gpuDevicesRequest": 8, "largeShmRequest": True},
            "storage": {"pvc": [{"path": "/mnt/workspace", "claimName": "team-workspace", "existingPvc": True}]},
            "environmentVariables": [
                {"name": "A", "value": "exact $$$$ value"},
                {"name": "WANDB_API_KEY", "value": "hunter2-canary"},
                {"name": "HF_TOKEN", "secret": {"name": "hf", "key": "HF_TOKEN"}},
                {"name": "OTHER", "secret": {"name": "store", "key": "some.key"}},
            ],
            "backoffLimit": 0,
            "distributedFramework": "PyTorch",
            "minReplicas": 2,
            "maxReplicas": 2,
            "numWorkers": 2,
        },
    }


def test_the_request_for_one_pod() -> None:
    asked = request(replace(WORKLOAD, nodes=1, gpus_per_node=0, argv=("true",), retries=2), SETTINGS)
    assert asked.kind == "trainings"
    assert asked.body["spec"]["compute"]["gpuDevicesRequest"] == 0
    assert asked.body["spec"]["backoffLimit"] == 2
    assert {"args", "numWorkers", "distributedFramework"}.isdisjoint(asked.body["spec"])


def test_words_survive_the_platforms_splitting() -> None:
    words = ("a b", "it's", 'say "x"', "", "\\n\n", "$HOME;ls", "ä")
    spec = request(replace(WORKLOAD, argv=words), SETTINGS).body["spec"]
    assert tuple(shlex.split(spec["command"]) + shlex.split(spec["args"])) == words


def test_it_can_be_sent_and_does_not_show_what_it_holds() -> None:
    asked = request(WORKLOAD, SETTINGS)
    assert b'"projectId":"33"' in canonical(asked.filled({PROJECT_ID: "33"}))
    assert asked.digest == request(WORKLOAD, SETTINGS).digest
    assert "hunter2" not in repr(asked)


def test_a_custom_spec_adds_to_tables() -> None:
    custom = {"compute": {"cpuCoreRequest": 4}, "nodePools": ["a"], "backoffLimit": 3}
    spec = request(WORKLOAD, replace(SETTINGS, custom_spec=custom)).body["spec"]
    assert spec["compute"] == {"gpuDevicesRequest": 8, "largeShmRequest": True, "cpuCoreRequest": 4}
    assert (spec["nodePools"], spec["backoffLimit"]) == (["a"], 3)


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"project_name": ""}, "run:ai needs 'project_name'"),
    ({"pvcs": ({"claimName": "a"},)}, "pvcs[0] lacks 'path'"),
    ({"pvcs": ({"path": "/a"},)}, "pvcs[0] lacks 'claimName'"),
    ({"pvcs": ({"path": "/a", "claimName": "A_b"},)}, "pvcs[0] has the claimName 'A_b'"),
    ({"pvcs": ({"path": "/a", "claimName": "a" * 64},)}, "up to 63 small letters"),
    ({"pvcs": ({"path": "a", "claimName": "a"},)}, "'a' is not absolute"),
    ({"pvcs": (PVC, PVC)}, "2 volumes are mounted on '/mnt/workspace'"),
    ({"max_args_chars": 20}, "'args' has 55 bytes; run:ai takes 20"),
    ({"custom_spec": {"storage": {"pvc": []}}}, "custom_spec must not set 'storage.pvc'"),
]


@pytest.mark.parametrize(("changes", "says"), PROBLEMS)
def test_what_runai_would_refuse_is_told_first(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        request(WORKLOAD, replace(SETTINGS, **changes))
    assert says in str(caught.value)


@pytest.mark.parametrize("reference", ["", "/", "/key", "a/b/c", "a/"])
def test_secret_references_are_checked(reference: str) -> None:
    with pytest.raises(ProfileError, match="it must be SECRET or SECRET/KEY"):
        request(replace(WORKLOAD, secret_references={"X": reference}), SETTINGS)


def test_a_command_over_the_platforms_limit_is_told() -> None:
    with pytest.raises(ProfileError, match="'command' has 10,001 bytes; run:ai takes 10,000"):
        request(replace(WORKLOAD, argv=("x" * 10_001,)), SETTINGS)
