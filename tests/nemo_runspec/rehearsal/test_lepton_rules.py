from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.rehearsal.lepton_rules import job_issues, job_pods
from tests.nemo_runspec.rehearsal.mutations import mutations
from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, lepton_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"resource_shape": "gpu.9x"}, "resource shape 'gpu.9x' does not exist"),
        ({"resource_shape": None}, "spec.resource_shape: must be a text"),
        ({"completions": 0, "parallelism": 0}, "no less than 1"),
        ({"completions": 2}, "parallelism must equal completions"),
        ({"completions": True}, "must be a whole number"),
        ({"container": {"image": "i", "command": []}}, "spec.container.command"),
        ({"container": {"command": ["x"]}}, "spec.container.image"),
        ({"container": {"image": "i", "command": "echo"}}, "list of texts"),
        ({"affinity": {"allowed_dedicated_node_groups": ["my-group"]}}, "node group 'my-group' does not exist"),
        ({"affinity": {"allowed_nodes_in_node_group": ["n"]}}, "node 'n' is in none"),
        ({"envs": [{"name": "1A", "value": ""}]}, "spec.envs[0].name"),
        ({"envs": [{"name": "LEPTON_JOB_NAME", "value": "x"}]}, "LEPTON_JOB_NAME"),
        ({"envs": [{"name": "A"}]}, "either a value or value_from"),
        ({"envs": [{"name": "A", "value_from": {"secret_name_ref": "no"}}]}, "secret 'no' does not exist"),
        ({"mounts": [{"path": "/", "mount_path": "/mnt"}]}, "spec.mounts[0].from"),
        ({"mounts": [{"path": "/", "mount_path": "/usr", "from": "node-local"}]}, "/usr"),
        ({"mounts": [{"path": "/", "mount_path": "/m", "from": "node-nfs:other"}]}, "volume 'node-nfs:other'"),
        ({"mounts": [{"path": "/../x", "mount_path": "/m", "from": "node-local"}]}, "must not leave the volume"),
        ({"mounts": [{"path": "/" + "x" * 256, "mount_path": "/m", "from": "node-local"}]}, "longer than a path"),
        ({"image_pull_secrets": ["other"]}, "secret 'other' does not exist"),
        ({"queue_config": {"can_preempt": True}}, "priority_class"),
        ({"reservation_config": {"reservation_id": "r"}}, "reservation 'r' does not exist"),
        ({"ttl_seconds_after_finished": -1}, "no less than 0"),
        ({"shared_memory_sise": 1}, "spec.shared_memory_sise: is not a field"),
    ],
)
def test_what_the_platform_refuses(change: dict[str, Any], says: str) -> None:
    issues = job_issues(lepton_job("refused", "true", **change), LEPTON)
    assert says in "; ".join(f"{field}: {problem}" for field, problem in issues.items())


@pytest.mark.parametrize("name", ["Upper", "1st", "a" * 37, "ends-", "made-by-lepton", "under_score"])
def test_names_that_the_platform_refuses(name: str) -> None:
    assert list(job_issues(lepton_job(name, "true"), LEPTON)) == ["metadata.id"]


@pytest.mark.parametrize("body", [{}, {"metadata": [], "spec": 3}, {"metadata": {"id": 5}, "spec": {"envs": [1, {}]}}])
def test_bodies_of_other_forms_are_refused_and_break_nothing(body: dict[str, Any]) -> None:
    assert job_issues(body, LEPTON)


WHOLE = lepton_job(
    "whole",
    "true",
    affinity={"allowed_dedicated_node_groups": ["ng-000"], "allowed_nodes_in_node_group": ["ng-000-node-2"]},
    envs=[{"name": "lower.case-name", "value": ""}, {"name": "S", "value_from": {"secret_name_ref": "hf"}}],
    mounts=[{"path": "/a", "mount_path": "/mnt/a", "from": "node-nfs:shared", "mount_options": {"read_only": True}}],
    image_pull_secrets=["registry"],
    queue_config={"priority_class": "mid-4000", "can_preempt": True},
    shared_memory_size=1024,
    max_failure_retry=3,
)


def test_a_whole_job_is_accepted() -> None:
    assert job_issues(WHOLE, LEPTON) == {}


def test_whatever_is_accepted_becomes_pods(tmp_path: Path) -> None:
    accepted = [body for body in mutations(WHOLE) if not job_issues(body, LEPTON)]
    assert len(accepted) > 20
    for body in accepted:
        assert job_pods("whole", body["spec"], LEPTON, tmp_path / "twin")
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]


def test_words_and_values_are_expanded_before_the_pod_sees_them(tmp_path: Path) -> None:
    envs = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$$(A)"}]
    spec = lepton_job("x", "echo", "$(B) $(LEPTON_JOB_NAME) ${A}", envs=envs)["spec"]
    (pod,) = job_pods("x", spec, LEPTON, tmp_path)
    assert pod.argv == ("echo", "1$(A) x ${A}")
    assert dict(pod.env)["B"] == "1$(A)"
