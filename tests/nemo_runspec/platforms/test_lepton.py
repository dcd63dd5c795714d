from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.lepton import LeptonSettings, request
from nemo_runspec.platforms.workload import NAME, NODE_GROUP_ID, Workload, canonical

WORKLOAD = Workload(
    image="nvcr.io/nvidia/nemo:25.11",
    nodes=2,
    gpus_per_node=8,
    argv=("python3", "-c", "print('$(A) $B')"),
    env=(("A", "exact $$ value"), ("http_proxy", "")),
    secrets=(("WANDB_API_KEY", "hunter2-canary"),),
    secret_references={"HF_TOKEN": "hf-token"},
)
SETTINGS = LeptonSettings(
    resource_shape="gpu.8xh100-sxm",
    node_group="my-node-group",
    shared_memory_size=65536,
    mounts=(MappingProxyType({"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}),),
    image_pull_secrets=("my-registry",),
)


def test_the_request() -> None:
    asked = request(WORKLOAD, SETTINGS)
    assert (asked.platform, asked.kind, asked.secret_variables) == ("lepton", "job", frozenset({"WANDB_API_KEY"}))
    assert asked.body == {
        "metadata": {"id": NAME},
        "spec": {
            "resource_shape": "gpu.8xh100-sxm",
            "affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]},
            "container": {
                "image": "nvcr.io/nvidia/nemo:25.11",
                "command": ["python3", "-c", "print('$$(A) $B')"],
            },
            "completions": 2,
            "parallelism": 2,
            "envs": [
                {"name": "A", "value": "exact $$$$ value"},
                {"name": "http_proxy", "value": ""},
                {"name": "WANDB_API_KEY", "value": "hunter2-canary"},
                {"name": "HF_TOKEN", "value_from": {"secret_name_ref": "hf-token"}},
            ],
            "mounts": [{"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}],
            "image_pull_secrets": ["my-registry"],
            "intra_job_communication": True,
            "ttl_seconds_after_finished": 259_200,
            "shared_memory_size": 65536,
        },
    }


def test_it_is_the_same_each_time_and_can_be_sent() -> None:
    assert request(WORKLOAD, SETTINGS).digest == request(WORKLOAD, SETTINGS).digest
    filled = request(WORKLOAD, SETTINGS).filled({NAME: "n", NODE_GROUP_ID: "ng"})
    assert b'"id":"n"' in canonical(filled)


def test_it_does_not_show_what_it_holds() -> None:
    assert "hunter2" not in repr(request(WORKLOAD, SETTINGS))


def spec(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of many types
    body: dict[str, Any] = request(WORKLOAD, replace(SETTINGS, **changes)).body["spec"]
    return body


def test_what_only_some_profiles_say() -> None:
    assert "queue_config" not in spec(can_preempt=False)
    assert spec(can_be_preempted=True)["queue_config"] == {"priority_class": "mid-4000", "can_be_preempted": True}
    assert spec(queue_priority="low-1000", can_preempt=False)["queue_config"] == {
        "priority_class": "low-1000",
        "can_preempt": False,
    }
    assert spec(node_reservation="r1")["reservation_config"] == {"reservation_id": "r1"}
    assert spec(custom_spec={"log": {"enable_collection": True}})["log"] == {"enable_collection": True}
    assert spec(custom_spec={"ttl_seconds_after_finished": 60})["ttl_seconds_after_finished"] == 60
    assert request(replace(WORKLOAD, retries=3), SETTINGS).body["spec"]["max_failure_retry"] == 3


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"resource_shape": None}, "Lepton needs 'resource_shape'"),
    ({"node_group": ""}, "Lepton needs 'node_group'"),
    ({"shared_memory_size": 0}, "shared_memory_size is 0 MiB"),
    ({"mounts": ({"path": "/", "mount_path": "/mnt/a"},)}, "mounts[0] lacks 'from'"),
    ({"mounts": ({"path": "/", "from": "node-local"},)}, "mounts[0] lacks 'mount_path'"),
    ({"mounts": ({"mount_path": "/a", "from": "node-local"},)}, "mounts[0] lacks 'path'"),
    ({"mounts": ({"path": "/", "mount_path": "/a", "from": "nfs"},)}, "mounts[0] is from 'nfs'"),
    ({"mounts": ({"path": "/", "mount_path": "/opt", "from": "node-local"},)}, "'/opt' cannot be mounted on"),
    ({"mounts": ({"path": "/", "mount_path": "a", "from": "node-local"},)}, "'a' is not absolute"),
    ({"custom_spec": {"envs": []}}, "custom_spec must not set 'envs'"),
]


@pytest.mark.parametrize(("changes", "says"), PROBLEMS)
def test_what_lepton_would_refuse_is_told_first(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        spec(**changes)
    assert says in str(caught.value)


def test_everything_is_told_at_once() -> None:
    workload = replace(
        WORKLOAD, image="", env=(("LEPTON_WORKSPACE_ID", "x"), ("1", "")), secret_references={"HF_TOKEN": ""}
    )
    with pytest.raises(ProfileError, match="this job for Lepton has 8 problems") as caught:
        request(workload, LeptonSettings(mounts=({"path": "/", "mount_path": "/usr/"},)))
    for part in ("no container image", "LEPTON_WORKSPACE_ID", "'1'", "resource_shape", "node_group", "lacks 'from'"):
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)
