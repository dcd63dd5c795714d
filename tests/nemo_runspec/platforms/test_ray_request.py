from __future__ import annotations

from dataclasses import replace

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.ray_request import EXISTING, RaySettings, cluster_request, job_request
from nemo_runspec.platforms.workload import NODE_GROUP_ID, Workload

WORKLOAD = Workload(
    image="i",
    nodes=3,
    argv=("ray", "start"),
    env=(("A", "$(B)"),),
    secrets=(("KEY", "canary"),),
    secret_references={"HF_TOKEN": "hf"},
)
SETTINGS = LeptonSettings(
    resource_shape="gpu.8xh100", node_group="mine", shared_memory_size=1024, mounts=(), node_reservation="r"
)
RAY = RaySettings(version="2.49.2")


def test_a_cluster_of_n_nodes_has_a_head_and_the_rest_as_workers() -> None:
    request = cluster_request(WORKLOAD, SETTINGS, RAY, package="digest")
    spec = request.body["spec"]
    (group,) = spec["worker_group_specs"]
    assert (request.kind, spec["ray_version"], spec["suspend"]) == ("raycluster", "2.49.2", False)
    assert (spec["head_group_spec"]["min_replicas"], group["min_replicas"]) == (1, 2)
    assert group == {**spec["head_group_spec"], "min_replicas": 2}
    assert group["affinity"] == {"allowed_dedicated_node_groups": [NODE_GROUP_ID]}
    assert group["shared_memory_size"] == 1024
    assert group["reservation_config"] == {"reservation_id": "r"}
    assert group["envs"] == [
        {"name": "A", "value": "$$(B)"},
        {"name": "KEY", "value": "canary"},
        {"name": "NEMO_RUNSPEC_RAY_PACKAGE", "value": "digest"},
        {"name": "HF_TOKEN", "value_from": {"secret_name_ref": "hf"}},
    ]
    assert request.secret_variables == {"KEY"}


def test_a_head_of_its_own_shape_is_one_machine_more() -> None:
    spec = cluster_request(WORKLOAD, SETTINGS, replace(RAY, head_resource_shape="cpu.large")).body["spec"]
    assert spec["head_group_spec"]["resource_shape"] == "cpu.large"
    assert [(group["resource_shape"], group["min_replicas"]) for group in spec["worker_group_specs"]] == [
        ("gpu.8xh100", 3)
    ]


def test_a_cluster_of_one_node_has_no_workers() -> None:
    assert cluster_request(replace(WORKLOAD, nodes=1), SETTINGS, RAY).body["spec"]["worker_group_specs"] == []


def test_another_package_is_another_request() -> None:
    one, other = (cluster_request(WORKLOAD, SETTINGS, RAY, package=text) for text in ("one", "other"))
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("ray", "custom", "says"),
    [
        (RaySettings(), {}, "ray_version"),
        (RaySettings(version="ray:2.49.2-py312-gpu"), {}, "is a version such as 2.49.2, and no image"),
        (RAY, {"max_failure_retry": 2}, "custom_spec sets 'max_failure_retry'"),
    ],
)
def test_what_a_cluster_cannot_be(ray: RaySettings, custom: dict[str, object], says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        cluster_request(WORKLOAD, replace(SETTINGS, custom_spec=custom), ray)


def test_custom_fields_go_into_every_group() -> None:
    spec = cluster_request(WORKLOAD, replace(SETTINGS, custom_spec={"host_network": True}), RAY).body["spec"]
    assert [group["host_network"] for group in (spec["head_group_spec"], *spec["worker_group_specs"])] == [True, True]


def test_a_job_on_a_cluster_that_is_there_names_it() -> None:
    request = job_request(RaySettings(existing="team"), package="digest", env={"B": "2", "A": "1"})
    assert (request.kind, request.names) == ("rayjob", {EXISTING: "team"})
    assert [entry["name"] for entry in request.body["spec"]["envs"]] == ["A", "B"]
