from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import is_transport_variable, plan_for
from nemo_runspec.data_mover.pod import unpack
from nemo_runspec.data_mover.pod.variables import BOOT_VARIABLE, JOB_PREFIX, SOURCE_PREFIX
from nemo_runspec.errors import ConfigError, PayloadError
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import NAME
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    many = {f"src/nemotron/part{i}.py": "".join(f"x{i * j} = {hash((i, j))}\n" for j in range(150)) for i in range(40)}
    return pods.write(pods.repository(tmp_path / "repository"), many)


@pytest.mark.parametrize("executor_type", ["lepton", "dgxcloud"])
def test_a_plan_carries_everything_in_values_that_the_platform_takes(root: Path, executor_type: str) -> None:
    script = root / pods.SCRIPT
    plan = plan_for(
        executor_type=executor_type,
        script_path=script,
        repo_root=root,
        pod_nemotron_home="/mnt/nemo",
        job_files={"launch.sh": (b"echo $HOME\n", True)},
        nodes=2,
    )
    assert max(map(len, plan.env.values())) <= LIMITS[executor_type].value_bytes
    assert [name for name in plan.env if not is_transport_variable(name)] == []
    assert [name for name, value in plan.env.items() if "$" in value or not value.isascii()] == []
    assert [word for word in plan.command if "$" in word] == []
    assert plan.command[0] == "python3"
    assert plan.pod_script == "/nemo_run/code/src/nemotron/recipes/nano3/sft/train.py"
    assert plan.pod_src_root == "/nemo_run/code/src"
    boot = json.loads(plan.env[BOOT_VARIABLE])
    assert boot["job_dir"] == f"/mnt/nemo/jobs/{NAME}"
    assert boot["trees"] == "/mnt/nemo/_nemotron"
    part = boot["source"]
    assert part["sha256"] == plan.sha256
    source = unpack.payload(plan.env, SOURCE_PREFIX, part["chunks"], part["sha256"], part["bytes"])
    assert plan.archive_bytes * 5 / 4 <= plan.encoded_bytes <= plan.archive_bytes * 5 / 4 + 1
    assert {member.name: len(member.data) for member in unpack.members(source)} == dict(plan.files)
    job = unpack.payload(plan.env, JOB_PREFIX, boot["job"]["chunks"], boot["job"]["sha256"], boot["job"]["bytes"])
    assert plan.job_files == (("launch.sh", 11),)
    assert plan.job_encoded_bytes == sum(
        len(value) for name, value in plan.env.items() if name.startswith("NEMO_RUNSPEC_JOB_")
    )
    assert unpack.members(job) == [unpack.Member("launch.sh", b"echo $HOME\n", executable=True)]
    assert plan.raw_bytes == sum(size for _, size in plan.files)
    assert plan.encoded_bytes == sum(
        len(value) for name, value in plan.env.items() if name.startswith("NEMO_RUNSPEC_SRC_")
    )


def test_one_job_gives_one_plan(root: Path, tmp_path: Path) -> None:
    first, second = (pods.plan(root, tmp_path / "home") for _ in range(2))
    assert first == second
    with pytest.raises(FrozenInstanceError):
        first.sha256 = ""  # type: ignore[misc]  # that it cannot be set is what is tested
    with pytest.raises(TypeError):
        first.env["A"] = ""  # type: ignore[index]  # as above


def test_a_smaller_budget_gives_more_chunks(root: Path, tmp_path: Path) -> None:
    small, large = (pods.plan(root, tmp_path, value_bytes=size) for size in (1_000, 9_000))
    chunks = [[name for name in plan.env if name.startswith(SOURCE_PREFIX)] for plan in (small, large)]
    assert len(chunks[0]) > 4 * len(chunks[1])
    assert (small.sha256, small.encoded_bytes) == (large.sha256, large.encoded_bytes)


def test_a_path_with_a_dollar_reaches_the_pod_as_it_is(root: Path) -> None:
    plan = plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home="/mnt/$(X)/$$")
    assert "$" not in plan.env[BOOT_VARIABLE]
    assert json.loads(plan.env[BOOT_VARIABLE])["trees"] == "/mnt/$(X)/$$/_nemotron"


@pytest.mark.parametrize("executor_type", ["slurm", "docker"])
def test_where_nemo_run_unpacks_the_code_only_the_path_is_set(root: Path, executor_type: str) -> None:
    plan = plan_for(executor_type=executor_type, script_path=root / pods.SCRIPT)
    assert dict(plan.env) == {"PYTHONPATH": "/nemo_run/code/src"}
    assert plan.command == ()
    assert plan.pod_script == f"/nemo_run/code/{pods.SCRIPT}"


@pytest.mark.parametrize("executor_type", ["local", "leptn"])
def test_another_executor_is_an_error_that_names_the_known_ones(executor_type: str) -> None:
    with pytest.raises(ConfigError, match="does not travel") as failed:
        plan_for(executor_type=executor_type)
    assert "lepton" in str(failed.value)


@pytest.mark.parametrize("home", [None, "relative", "/mnt/../etc"])
def test_the_folder_in_the_pod_has_to_be_absolute(root: Path, home: str | None) -> None:
    with pytest.raises(ConfigError, match="pod_nemotron_home"):
        plan_for(executor_type="lepton", script_path=root / pods.SCRIPT, pod_nemotron_home=home)


@pytest.mark.parametrize("name", ["logs", "exit", "exit/x", "code", ".source", ".source/x"])
def test_a_file_of_the_job_that_takes_a_place_of_the_pod_is_refused(root: Path, name: str) -> None:
    files = {"launch.sh": (b"", True), name: (b"x", False)}
    with pytest.raises(PayloadError, match=f"a file of the job is called '{name}'"):
        plan_for(executor_type="lepton", repo_root=root, pod_nemotron_home="/x", job_files=files)


def test_files_of_the_job_may_stand_in_its_code_and_its_logs(root: Path) -> None:
    files = {"code/src/a.py": (b"x", False), "logs/before.txt": (b"x", False), "exits": (b"x", False)}
    plan = plan_for(executor_type="lepton", repo_root=root, pod_nemotron_home="/x", job_files=files)
    assert sorted(name for name, _ in plan.job_files) == sorted(files)


def test_a_source_of_which_nothing_is_left_is_an_error(root: Path) -> None:
    with pytest.raises(PayloadError, match="no file is left"):
        plan_for(executor_type="lepton", repo_root=root, pod_nemotron_home="/x", exclude=("src",))
