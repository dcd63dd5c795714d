from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import check_budget, plan_for
from nemo_runspec.data_mover.budget import MAX_RAW_BYTES
from nemo_runspec.errors import PayloadError
from nemo_runspec.platforms.limits import LIMITS, exec_size
from nemo_runspec.platforms.workload import NAME
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.data_mover import Plan

LEPTON = LIMITS["lepton"]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    sizes = {"huge": 9_000, "large": 3_000, "more": 900, "few": 80}
    text = {
        f"src/nemotron/{name}.py": "".join(f"{i * 7919 % 9973}," for i in range(size)) for name, size in sizes.items()
    }
    root = pods.write(pods.repository(tmp_path / "repository"), text)
    return plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home="/mnt")


def test_what_fits_passes(plan: Plan) -> None:
    check_budget(plan, LEPTON, other_env=[("A", "b")], other_argv=["bash", "x"], body_bytes=LEPTON.object_bytes)
    exact = dataclasses.replace(LEPTON, exec_bytes=exec_size(plan.command, plan.env.items()))
    check_budget(plan, exact)
    with pytest.raises(PayloadError):
        check_budget(plan, dataclasses.replace(exact, exec_bytes=exact.exec_bytes - 1))


def test_too_much_for_the_kernel_names_the_largest_files_and_what_to_leave_out(plan: Plan) -> None:
    limits = dataclasses.replace(LEPTON, exec_bytes=exec_size(plan.command, plan.env.items()) - plan.encoded_bytes // 3)
    with pytest.raises(PayloadError) as failed:
        check_budget(plan, limits)
    text = str(failed.value)
    assert f"{limits.exec_bytes:,}" in text
    listed = [line.split()[-1] for line in text.splitlines() if line.split()[-1].startswith("src/")]
    assert listed[:3] == ["src/nemotron/huge.py", "src/nemotron/large.py", "src/nemotron/more.py"]
    assert len(listed) == 5
    assert 'exclude = ["src/nemotron/huge.py"]' in text
    assert failed.value.exit_code == 2


def test_too_large_a_request(plan: Plan) -> None:
    with pytest.raises(PayloadError, match=r"the request takes 1,572,865 bytes; Lepton takes 1,572,864") as failed:
        check_budget(plan, LEPTON, body_bytes=LEPTON.object_bytes + 1)
    assert "exclude = [" in str(failed.value)


def test_more_than_the_largest_files_can_save_says_so(plan: Plan) -> None:
    with pytest.raises(PayloadError, match="these are not enough"):
        check_budget(plan, LEPTON, body_bytes=LEPTON.object_bytes * 2)


def test_the_script_is_never_left_out(tmp_path: Path) -> None:
    root = pods.repository(tmp_path / "repository")
    text = "".join(f"{i * 7919 % 9973}," for i in range(9_000))
    pods.write(root, {pods.SCRIPT: f"DATA = [{text}]\n"})
    plan = plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home="/mnt")
    with pytest.raises(PayloadError) as failed:
        check_budget(plan, LEPTON, body_bytes=LEPTON.object_bytes + 1)
    assert f'"{pods.SCRIPT}"' not in str(failed.value)


def test_the_jobs_own_files_are_named_too(tmp_path: Path) -> None:
    root = pods.repository(tmp_path / "repository")
    files = {
        f"code/part{i}.txt": (b"".join(hashlib.sha256(b"%d" % j).digest() for j in range(i)), False) for i in range(9)
    }
    files["launch.sh"] = (os.urandom(3_000), True)
    plan = plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home="/mnt", job_files=files)
    with pytest.raises(PayloadError) as failed:
        check_budget(plan, LEPTON, body_bytes=LEPTON.object_bytes + 1)
    lines = [line.split() for line in str(failed.value).splitlines()]
    assert [f"{plan.job_encoded_bytes:,}", "bytes", "of", "it", "are", "the", "job's", "own"] in [
        line[:8] for line in lines
    ]
    listed = [line[-1] for line in lines]
    assert listed[listed.index("launch.sh") :][:5] == ["launch.sh", *(f"code/part{i}.txt" for i in (8, 7, 6, 5))]


def test_data_beside_the_script_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pods.repository(tmp_path / "repository")
    folder = (root / pods.SCRIPT).parent
    for number in range(7):
        with (folder / f"data{number}.jsonl").open("wb") as file:
            file.truncate(MAX_RAW_BYTES // 4 - number)
    (folder / "data0.jsonl").chmod(0)
    monkeypatch.setattr("nemo_runspec.data_mover.plan.read", pytest.fail)
    with pytest.raises(PayloadError, match="too large to be sent") as failed:
        plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home="/mnt")
    text = str(failed.value)
    assert f"at most {MAX_RAW_BYTES:,} are packed" in text
    name = "src/nemotron/recipes/nano3/sft/data"
    assert [line.split()[-1] for line in text.splitlines() if line.split()[-1].startswith("src/")] == [
        f"{name}{number}.jsonl" for number in range(5)
    ]
    assert f'exclude = ["{name}0.jsonl", "{name}1.jsonl", "{name}2.jsonl", "{name}3.jsonl"]' in text


def test_own_files_of_the_job_count_before_they_are_packed() -> None:
    files = {"code/big.txt": (bytes(MAX_RAW_BYTES + 1), False), "launch.sh": (b"", True)}
    with pytest.raises(PayloadError, match=r"code/big\.txt") as failed:
        plan_for(executor_type="lepton", source=False, pod_nemotron_home="/mnt", job_files=files)
    assert "on a volume instead" in str(failed.value)


def test_without_a_source_the_rest_is_to_blame() -> None:
    plan = plan_for(executor_type="lepton", source=False, pod_nemotron_home="/mnt")
    with pytest.raises(PayloadError, match="shorten the job's command"):
        check_budget(plan, LEPTON, body_bytes=LEPTON.object_bytes + 1)


def test_a_value_of_the_user_that_no_pod_takes_is_named_and_not_shown(plan: Plan) -> None:
    with pytest.raises(PayloadError, match="the variable 'BIG' has 131,072 bytes") as failed:
        check_budget(plan, LEPTON, other_env=[("BIG", "s" * 131_072)])
    assert "sss" not in str(failed.value)
    assert NAME not in str(failed.value)
