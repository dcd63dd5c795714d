from __future__ import annotations

import pytest

from nemo_runspec.platforms.runai import RunaiSettings, request
from nemo_runspec.platforms.workload import Workload
from nemo_runspec.rehearsal import runai_fields
from nemo_runspec.rehearsal.runai_rules import KINDS


def test_every_kind_has_its_fields_and_only_a_distributed_one_has_workers() -> None:
    assert set(runai_fields.SPEC) == set(KINDS)
    assert "completions" not in runai_fields.SPEC["workspaces"]
    assert [kind for kind in KINDS if "numWorkers" in runai_fields.SPEC[kind]] == ["distributed"]
    assert all(set(runai_fields.PARTS) <= fields for fields in runai_fields.SPEC.values())


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_this_project_sends_is_among_them(nodes: int) -> None:
    pvcs = ({"path": "/mnt/team", "claimName": "team", "existingPvc": True},)
    workload = Workload(image="i", nodes=nodes, argv=("true",), env=(("A", "1"),), secret_references={"B": "s/k"})
    sent = request(workload, RunaiSettings(project_name="p", pvcs=pvcs))
    spec = sent.body["spec"]
    assert set(spec) <= runai_fields.SPEC[sent.kind]
    assert set(spec["compute"]) <= runai_fields.PARTS["compute"]
    assert set(spec["storage"]) <= runai_fields.PARTS["storage"]
    assert set(spec["storage"]["pvc"][0]) <= runai_fields.CLAIM
    assert all(set(row) <= runai_fields.VARIABLE for row in spec["environmentVariables"])
