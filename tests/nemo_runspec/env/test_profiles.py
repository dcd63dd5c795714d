from __future__ import annotations

import tomllib

import pytest

from nemo_runspec.env import (
    EXECUTORS,
    LocalProfile,
    Origin,
    Profile,
    SlurmProfile,
    known_keys,
    profile_fields,
)
from nemo_runspec.errors import ProfileError

COMMAND_LINE = Origin("command line")

# What the design promises for each executor beside the common keys; a lost key would break users' files.
PROMISED = {
    "local": "nproc_per_node",
    "docker": "runtime ipc_mode shm_size network",
    "slurm": (
        "account partition run_partition batch_partition time mem cpus_per_task exclusive qos gres constraint "
        "setup_lines tunnel host port user identity remote_job_dir additional_parameters srun_args"
    ),
    "lepton": (
        "nemo_run_dir resource_shape node_group node_reservation shared_memory_size image_pull_secrets ray_version "
        "head_resource_shape custom_spec pre_launch_commands pip_extras run_command existing_ray_cluster "
        "can_be_preempted can_preempt queue_priority"
    ),
    "dgxcloud": (
        "base_url kube_apiserver_url client_id client_secret app_id app_secret project_name pvc_nemo_run_dir pvcs "
        "distributed_framework custom_spec dgxcloud_max_args_chars pip_extras run_command"
    ),
}
COMMON = (
    "container_image container nodes gpus_per_node nprocs_per_node ntasks_per_node env_vars secrets mounts "
    "startup_commands exclude repo_root workspace"
)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_promised_key_is_known(executor: str) -> None:
    assert set(f"{COMMON} {PROMISED[executor]}".split()) <= set(known_keys(EXECUTORS[executor]))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_key_explains_itself_and_its_example_is_right(executor: str) -> None:
    for info in profile_fields(EXECUTORS[executor]):
        value = tomllib.loads(f"value = {info.example}")["value"]
        assert list(info.kind.check(value)) == [], info.name
        assert info.help.endswith("."), info.name


@pytest.mark.parametrize("executor", EXECUTORS)
def test_each_name_means_one_key(executor: str) -> None:
    names = [name for info in profile_fields(EXECUTORS[executor]) for name in (info.name, *info.aliases)]
    assert len(names) == len(set(names))


def test_only_the_two_clouds_require_keys() -> None:
    required = {
        executor: [info.name for info in profile_fields(kind) if info.required] for executor, kind in EXECUTORS.items()
    }
    assert required == {
        "local": [],
        "docker": [],
        "slurm": [],
        "lepton": ["nemo_run_dir"],
        "dgxcloud": [
            "base_url",
            "kube_apiserver_url",
            "client_id",
            "client_secret",
            "project_name",
            "pvc_nemo_run_dir",
        ],
    }


def test_the_default_profile_is_this_machine_and_sets_nothing() -> None:
    profile = LocalProfile.default()
    assert (profile.name, profile.executor, profile.source) == ("local", "local", None)
    assert profile.as_config() == {"executor": "local"}
    assert (profile.nproc_per_node, profile.gpus_per_node, dict(profile.env_vars)) == (None, None, {})


def test_ssh_needs_a_host_and_a_folder() -> None:
    with pytest.raises(ProfileError) as caught:
        SlurmProfile(name="s").with_overrides({"tunnel": "ssh"}, COMMAND_LINE)
    assert "needs 'host'" in str(caught.value)
    assert "needs 'remote_job_dir'" in str(caught.value)
    complete = {"tunnel": "ssh", "host": "h", "remote_job_dir": "/jobs"}
    assert SlurmProfile(name="s").with_overrides(complete, COMMAND_LINE).host == "h"


def test_every_executor_has_one_profile_type() -> None:
    assert list(EXECUTORS) == ["local", "docker", "slurm", "lepton", "dgxcloud"]
    assert all(issubclass(kind, Profile) and kind.executor == name for name, kind in EXECUTORS.items())
