from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.env.profiles import SlurmProfile
from nemo_runspec.env.slurm_rules import slurm_problems
from nemo_runspec.env.tables import Origin


def told(wrong: tuple[str, ...] = (), **keys: Any) -> list[str]:  # noqa: ANN401 - whatever a key may hold
    origins = {name: Origin("mine") for name in keys}
    return [problem.message for problem in slurm_problems(SlurmProfile(name="mine", origins=origins, **keys), wrong)]


def test_a_usual_profile_is_fine() -> None:
    problems = told(
        account="research",
        partition="batch",
        time="04:00:00",
        mem="0",
        gpus_per_node=8,
        exclusive=True,
        container_image="nvcr.io/nvidia/nemo:25.11",
        remote_job_dir="/lustre/me/nemo_run",
        mounts=("/lustre/data:/data:ro", "${auto_mount:git+https://example.com/x@main,/opt/x}", "${oc.env:HOME}:/home"),
        setup_lines="module load cuda\nexport X=$(hostname)",
        srun_args=("--mpi=pmix",),
        additional_parameters={"mail_type": "FAIL", "no_requeue": True, "comment": "a 'b' $c"},
        env_vars={"NCCL_DEBUG": "WARN", "lower": "a\nb"},
        secrets=("HF_TOKEN",),
    )
    assert problems == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"account": "a\n#SBATCH --uid=0"}, "profile 'mine': account holds a line break"),
        ({"run_partition": "a\x1bb"}, "run_partition holds"),
        ({"container_image": "a\tb"}, "container_image holds"),
        ({"exclusive": "a\nb"}, "exclusive holds"),
        ({"remote_job_dir": "~/jobs"}, "remote_job_dir must be an absolute path on the cluster, not '~/jobs'"),
        ({"remote_job_dir": "/a b", "container_image": "x"}, "remote_job_dir '/a b' cannot be mounted"),
        ({"mounts": ("/$x:/y",)}, "mounts: '/$x:/y': holds '$'"),
        ({"mounts": ("/x:/y",), "container_image": "none"}, 'mounts need a container, and container_image = "none"'),
        ({"srun_args": ("touch",)}, "srun_args: 'touch' is no option of srun"),
        ({"srun_args": ("--output=x",)}, "srun_args: '--output=x' cannot be set"),
        ({"additional_parameters": {"job_name": "x"}}, "additional_parameters: '--job-name' cannot be set"),
        ({"additional_parameters": {"x\n": "y"}}, "is no long name"),
        ({"additional_parameters": {"qos": "y"}, "qos": "x"}, "sets '--qos', which the key 'qos' sets too"),
        ({"additional_parameters": {"partition": "y"}, "run_partition": "x"}, "which the key 'run_partition' sets too"),
        ({"setup_lines": "a\0b"}, "setup_lines hold a NUL"),
        ({"env_vars": {"SLURM_X": "1"}}, "Slurm's own"),
        ({"env_vars": {"BIG": "x" * 140_000}}, "has 140,000 bytes"),
        ({"secrets": ("MASTER_PORT",)}, "found out on the nodes"),
    ],
)
def test_what_would_not_arrive_is_told(keys: dict[str, Any], message: str) -> None:
    (problem,) = told(**keys)
    assert message in problem


def test_a_home_without_a_container_may_hold_what_a_mount_may_not() -> None:
    assert told(remote_job_dir="/a b/$x", container_image="none") == []


def test_keys_that_are_wrong_by_themselves_are_not_judged() -> None:
    assert told(("remote_job_dir", "account"), remote_job_dir=7, account=8, mounts=(7,), srun_args=(8,)) == []


def test_what_is_filled_in_later_is_judged_then() -> None:
    later = "${oc.env:X}"
    assert told(remote_job_dir=later, account=later, srun_args=(later,), additional_parameters={"nice": later}) == []
