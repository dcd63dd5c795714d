from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.rehearsal.lepton_ray_rules import cluster_issues, cluster_pods, network_of
from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, ray_cluster

if TYPE_CHECKING:
    from pathlib import Path

GROUP = {"resource_shape": "cpu.small", "min_replicas": 2}


def test_a_sound_cluster_is_taken() -> None:
    assert cluster_issues(ray_cluster("sound", workers=2), LEPTON) == {}
    without = ray_cluster("sound", workers=0)
    without["spec"]["worker_group_specs"] = []
    assert cluster_issues(without, LEPTON) == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ray_version": "ray:2.49.2-py312-gpu"}, "spec.ray_version: 'ray:2.49.2-py312-gpu' is not a version of Ray"),
        ({"ray_version": None}, "spec.ray_version"),
        ({"image": ""}, "spec.image"),
        ({"suspend": "no"}, "spec.suspend"),
        ({"image_pull_secrets": ["other"]}, "secret 'other' does not exist"),
        ({"completions": 2}, "spec.completions: is not a field"),
        ({"head_group_spec": None}, "spec.head_group_spec: must be an object"),
        ({"head_group_spec": {**GROUP}}, "a cluster has one head"),
        ({"head_group_spec": {"resource_shape": "none"}}, "spec.head_group_spec.resource_shape: resource shape 'none'"),
        ({"worker_group_specs": [{**GROUP, "min_replicas": -1}]}, "spec.worker_group_specs[0].min_replicas"),
        ({"worker_group_specs": [{**GROUP, "completions": 1}]}, "spec.worker_group_specs[0].completions: is not"),
        ({"worker_group_specs": [{**GROUP, "container": {"image": "i"}}]}, "spec.worker_group_specs[0].container"),
        (
            {"worker_group_specs": [{**GROUP, "envs": [{"name": "LEPTON_CLASSIC", "value": "x"}]}]},
            "spec.worker_group_specs[0].envs[0].name: 'LEPTON_CLASSIC' is reserved",
        ),
        (
            {"worker_group_specs": [{**GROUP, "mounts": [{"path": "/", "mount_path": "/usr", "from": "node-local"}]}]},
            "spec.worker_group_specs[0].mounts: mount path '/usr' is reserved",
        ),
        (
            {"worker_group_specs": [{**GROUP, "affinity": {"allowed_dedicated_node_groups": ["no"]}}]},
            "spec.worker_group_specs[0].affinity.allowed_dedicated_node_groups",
        ),
    ],
)
def test_what_the_platform_refuses(change: dict[str, Any], says: str) -> None:
    issues = cluster_issues(ray_cluster("refused", **change), LEPTON)
    assert says in "; ".join(f"{field}: {problem}" for field, problem in issues.items())


@pytest.mark.parametrize("name", ["Upper", "a" * 37, "ends-", "under_score"])
def test_names_that_the_platform_refuses(name: str) -> None:
    assert list(cluster_issues(ray_cluster(name), LEPTON)) == ["metadata.id"]


def test_the_pods_are_a_head_and_workers_on_one_network(tmp_path: Path) -> None:
    envs = [{"name": "A", "value": "$(LEPTON_WORKSPACE_ID)"}, {"name": "S", "value_from": {"secret_name_ref": "hf"}}]
    mounts = [{"path": "/", "mount_path": "/mnt/own", "from": "node-local"}]
    groups: dict[str, Any] = {
        "head_group_spec": {"resource_shape": "cpu.small", "envs": envs, "mounts": mounts},
        "worker_group_specs": [{**GROUP, "resource_shape": "gpu.8xh100-sxm", "envs": envs, "mounts": mounts}],
    }
    pods = cluster_pods("mine", ray_cluster("mine", **groups)["spec"], LEPTON, tmp_path)
    assert [pod.name.rpartition("-")[0] for pod in pods] == ["mine-head", "mine-worker-0", "mine-worker-0"]
    assert {pod.network for pod in pods} == {network_of("mine")}
    assert network_of("mine") != "mine", "a job of that name has a network of its own"
    assert len({pod.mounts[0].source for pod in pods}) == 3, "each node has its own disk"
    assert dict(pods[1].env)["S"] == "canary-of-the-store"
    head, worker, other = (pod.argv[-1] for pod in pods)
    assert "ray start --block --head" in head
    assert "--node-ip-address=127.0.0.1" in head
    assert "--num-gpus=0" in head
    assert "--address=127.0.0.1:6379" in worker
    assert "--node-ip-address=127.0.0.2" in worker
    assert "--num-gpus=8" in worker
    assert "--node-ip-address=127.0.0.3" in other
