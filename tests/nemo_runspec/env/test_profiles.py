from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError

import pytest

from nemo_runspec.env import (
    EXECUTORS,
    DGXCloudProfile,
    LeptonProfile,
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
    "startup_commands repo_root workspace"
)


def lepton(**values: object) -> LeptonProfile:
    return LeptonProfile(name="l", nemo_run_dir="/mnt").with_overrides(values, COMMAND_LINE)


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


def test_a_profile_cannot_be_changed() -> None:
    profile = LocalProfile.default()
    with pytest.raises(FrozenInstanceError):
        profile.nodes = 2  # type: ignore[misc] # the point of the test
    with pytest.raises(TypeError):
        profile.env_vars["A"] = "1"  # type: ignore[index] # the point of the test


def test_an_override_gives_a_new_profile() -> None:
    before = SlurmProfile(name="s", nodes=1, account="a", origins={"account": Origin("s"), "nodes": Origin("s")})
    after = before.with_overrides({"nodes": 4, "nproc_per_node": 8, "mounts": ["/a:/a"]}, COMMAND_LINE)
    assert (before.nodes, before.nprocs_per_node) == (1, None)
    assert after.as_config() == {
        "executor": "slurm",
        "account": "a",
        "nodes": 4,
        "nprocs_per_node": 8,
        "mounts": ["/a:/a"],
    }
    assert (after.origins["nodes"], after.origins["account"]) == (COMMAND_LINE, Origin("s"))


@pytest.mark.parametrize("name", ["nproc_per_node", "nprocs_per_node"])
def test_on_this_machine_both_names_of_the_process_count_work(name: str) -> None:
    profile = LocalProfile.default().with_overrides({name: 3}, COMMAND_LINE)
    assert profile.nproc_per_node == 3
    assert profile.as_config() == {"executor": "local", "nproc_per_node": 3}


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"nods": 4}, "[command line] 'nods' is not a key of a lepton profile", "Did you mean 'nodes'?"),
        (
            {"shm_size": "1g"},
            "[command line] 'shm_size' is not a key of a lepton profile",
            "It is a key of docker profiles.",
        ),
        (
            {"nodes": "4"},
            "[command line] nodes must be an integer of at least 1, not a string",
            "Leave out the quotes.",
        ),
        ({"nemo_run_dir": "x"}, '[command line] nemo_run_dir must be an absolute path, not "x"', None),
        ({"executor": "slurm"}, "[command line] profile 'l' is for executor 'lepton', not 'slurm'", "Choose a profile"),
        ({"can_preempt": True}, "profile 'l': can_preempt needs 'queue_priority'", "queue_priority ="),
        (
            {"nprocs_per_node": 1, "nproc_per_node": 2},
            "[command line] 'nprocs_per_node' and 'nproc_per_node' are",
            "Keep",
        ),
    ],
)
def test_a_wrong_override_is_an_error(values: dict[str, object], message: str, remedy: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        lepton(**values)
    assert caught.value.message.startswith(message)
    assert (remedy or "") in (caught.value.remedy or "")


def test_preemption_with_a_priority_is_right() -> None:
    assert lepton(can_preempt=True, queue_priority="mid-4000").can_preempt is True
    assert lepton(can_be_preempted=False).can_be_preempted is False


def test_ssh_needs_a_host_and_a_folder() -> None:
    with pytest.raises(ProfileError) as caught:
        SlurmProfile(name="s").with_overrides({"tunnel": "ssh"}, COMMAND_LINE)
    assert "needs 'host'" in str(caught.value)
    assert "needs 'remote_job_dir'" in str(caught.value)
    complete = {"tunnel": "ssh", "host": "h", "remote_job_dir": "/jobs"}
    assert SlurmProfile(name="s").with_overrides(complete, COMMAND_LINE).host == "h"


@pytest.mark.parametrize(("folder", "right"), [("/mnt/w/x", True), ("/mnt/w", True), ("/mnt/wx", False), ("/x", False)])
def test_the_job_folder_of_run_ai_lies_on_a_volume(*, folder: str, right: bool) -> None:
    profile = DGXCloudProfile(
        name="d",
        base_url="https://a",
        kube_apiserver_url="https://b",
        client_id="i",
        client_secret="s",  # noqa: S106 - no secret
        project_name="p",
        pvc_nemo_run_dir=folder,
        pvcs=({"path": "/mnt/w/", "claimName": "w"},),
    )
    assert [problem.message for problem in profile.conflicts()] == (
        [] if right else ["profile 'd': pvc_nemo_run_dir is on none of the pvcs (/mnt/w)"]
    )


def test_every_executor_has_one_profile_type() -> None:
    assert list(EXECUTORS) == ["local", "docker", "slurm", "lepton", "dgxcloud"]
    assert all(issubclass(kind, Profile) and kind.executor == name for name, kind in EXECUTORS.items())
