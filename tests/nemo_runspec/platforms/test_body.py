from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms import lepton, runai
from nemo_runspec.platforms.body import escaped_env, merged, refuse, spec_problems, workload_problems
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import NAME, Workload

RUNAI = LIMITS["dgxcloud"]


def test_values_are_escaped_and_names_keep_their_case() -> None:
    assert escaped_env([("http_proxy", "$(A) x")]) == [{"name": "http_proxy", "value": "$$(A) x"}]


def test_all_problems_of_a_workload_are_told() -> None:
    workload = Workload(
        image="",
        nodes=0,
        gpus_per_node=-1,
        retries=-1,
        argv=(),
        env=(("1A", "x"), ("B", "y" * 10_001)),
        secrets=(("B", "hunter2"),),
        secret_references={"B": "s"},
    )
    problems = workload_problems(workload, RUNAI)
    assert len(problems) == 8
    for part in ("image", "0 nodes", "-1 GPUs", "-1 retries", "no command", "'1A'", "'B' is set 3 times", "10,001"):
        assert [problem for problem in problems if part in problem], part
    assert "hunter2" not in str(problems)


def test_a_good_workload_has_no_problem() -> None:
    assert workload_problems(Workload(image="i", argv=("true",), env=(("A", ""),)), RUNAI) == []


def test_a_value_is_measured_as_it_is_sent() -> None:
    escaped = Workload(image="i", argv=("x",), env=(("A", "$$" * 2_501),))
    assert "10,004 bytes" in workload_problems(escaped, RUNAI)[0]
    named = Workload(image="i", argv=("x",), env=(("A", "x" * (10_000 - len(NAME)) + NAME),))
    assert "10,020 bytes" in workload_problems(named, RUNAI)[0]


def test_one_error_holds_every_problem() -> None:
    with pytest.raises(ProfileError, match=r"(?s)this job for run:ai has 2 problems:.*one.*two") as caught:
        refuse(["one", "two"], RUNAI)
    assert caught.value.exit_code == 2
    refuse([], RUNAI)


def test_tables_of_a_custom_spec_are_merged_and_nothing_is_changed() -> None:
    ours = {"compute": {"gpu": 1}, "list": [1]}
    custom = MappingProxyType({"compute": MappingProxyType({"cpu": 2}), "list": (2, 3), "new": {"a": ()}})
    assert merged(ours, custom) == {"compute": {"gpu": 1, "cpu": 2}, "list": [2, 3], "new": {"a": []}}
    assert ours == {"compute": {"gpu": 1}, "list": [1]}


def test_a_custom_spec_leaves_the_jobs_own_fields_alone() -> None:
    ours = ("image", "storage.pvc")
    assert spec_problems({"storage": {"nfs": []}, "other": 1}, ours) == []
    assert len(spec_problems({"image": "x", "storage": {"pvc": []}}, ours)) == 2
    assert len(spec_problems({"storage": None}, ours)) == 1


@pytest.mark.parametrize("value", [3, "\udcff"])
@pytest.mark.parametrize("kind", ["env", "secrets"])
def test_a_value_that_is_no_text_is_told_by_its_name(kind: str, value: Any) -> None:  # noqa: ANN401 - the point is its type
    values: tuple[tuple[str, Any], ...] = (("GOOD", "x"), ("BAD", value))
    given = {"env": (), "secrets": (), kind: values}
    workload = Workload(image="i", argv=("x",), env=given["env"], secrets=given["secrets"])
    (problem,) = workload_problems(workload, RUNAI)
    assert "'BAD'" in problem
    with pytest.raises(ProfileError, match="'BAD'"):
        runai.request(workload, runai.RunaiSettings(project_name="p"))
    settings = lepton.LeptonSettings(resource_shape="s", node_group="g")
    with pytest.raises(ProfileError, match="'BAD'"):
        lepton.request(workload, settings)
    with pytest.raises(ProfileError, match="word 1 of the command"):
        runai.request(replace(workload, argv=("x", value)), runai.RunaiSettings(project_name="p"))
