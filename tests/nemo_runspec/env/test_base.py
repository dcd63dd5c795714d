from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import LeptonProfile, LocalProfile, Origin, SlurmProfile, load_env_profile
from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

COMMAND_LINE = Origin("command line")
LEPTON = LeptonProfile(
    name="l",
    nemo_run_dir="/mnt/n",
    mounts=({"path": "/", "mount_path": "/mnt/n", "from": "node-nfs:n"},),
    node_group="group",
    resource_shape="cpu.large",
)


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
        (
            {"nprocs_per_node": 1, "nproc_per_node": 2},
            "[command line] 'nprocs_per_node' and 'nproc_per_node' are",
            "Keep",
        ),
    ],
)
def test_a_wrong_override_is_an_error(values: dict[str, object], message: str, remedy: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        LEPTON.with_overrides(values, COMMAND_LINE)
    assert caught.value.message.startswith(message)
    assert (remedy or "") in (caught.value.remedy or "")


def test_a_wrong_key_does_not_hide_what_is_wrong_between_the_others() -> None:
    with pytest.raises(ProfileError) as caught:
        SlurmProfile(name="s").with_overrides({"nodes": 0, "tunnel": "ssh", "host": 5}, COMMAND_LINE)
    message = caught.value.message
    assert "nodes must be" in message
    assert "host must be a string" in message
    assert "needs 'remote_job_dir'" in message
    assert "needs 'host'" not in message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 1),
        ({"gpus_per_node": 0}, 1),
        ({"gpus_per_node": 8}, 8),
        ({"gpus_per_node": 8, "nprocs_per_node": 2}, 2),
    ],
)
def test_there_is_a_process_for_each_gpu_unless_said_otherwise(values: dict[str, object], expected: int) -> None:
    assert SlurmProfile(name="s").with_overrides(values, COMMAND_LINE).processes_per_node == expected


def test_a_checkout_that_is_not_there_is_told(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "none", "is no folder that exists"), (tmp_path, "has no folder src")):
        with pytest.raises(ProfileError, match=message):
            LEPTON.with_overrides({"repo_root": str(folder)}, COMMAND_LINE)
    (tmp_path / "src").mkdir()
    assert LEPTON.with_overrides({"repo_root": str(tmp_path)}, COMMAND_LINE).repo_root == str(tmp_path)
    with pytest.raises(ProfileError, match="home of a user"):
        SlurmProfile(name="s").with_overrides({"repo_root": "~nobody-of-this-name/x"}, COMMAND_LINE)
    assert LEPTON.with_overrides({"repo_root": "${oc.env:CHECKOUT}"}, COMMAND_LINE)


@pytest.mark.parametrize(
    ("pattern", "right"), [("*.md", True), ("a/..b/*", True), ("/abs", False), ("../x", False), ("a/../b", False)]
)
def test_a_glob_stays_below_the_checkout(*, pattern: str, right: bool) -> None:
    if right:
        assert LEPTON.with_overrides({"exclude": [pattern]}, COMMAND_LINE).exclude == (pattern,)
    else:
        with pytest.raises(ProfileError, match=r"exclude\[0\] must be a glob below the checkout"):
            LEPTON.with_overrides({"exclude": [pattern]}, COMMAND_LINE)


def _told(folder: Path, *lines: str) -> list[str]:
    """Give what is wrong with a local profile of these lines, of which the first is line 3."""
    file = folder / "env.toml"
    file.write_text("\n".join(["[p]", 'executor = "local"', *lines]), encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        load_env_profile("p", file)
    return str(error.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize("secrets", ['["LICENSE", "HF_TOKEN"]', '{ LICENSE = "a-secret" }'])
def test_a_variable_is_a_secret_or_has_a_value(tmp_path: Path, secrets: str) -> None:
    told = _told(tmp_path, 'env_vars = { LICENSE = "canary", A = "1" }', "", f"secrets = {secrets}")
    assert told[0] == (
        "env.toml:3: profile 'p': the variable 'LICENSE' is in env_vars, and in secrets too (env.toml:5)"
    )
    assert "canary" not in "".join(told)


@pytest.mark.parametrize(
    ("key", "line"), [("env_vars", 'env_vars = { NEMO_RUN_DIR = "/x" }'), ("secrets", 'secrets = ["NEMO_RUN_DIR"]')]
)
def test_the_workspace_has_one_place(tmp_path: Path, key: str, line: str) -> None:
    told = _told(tmp_path, 'workspace = "/w"', line)
    message = f"env.toml:4: profile 'p': {key} sets NEMO_RUN_DIR, which is the profile's workspace (env.toml:3)"
    assert told[0] == message
    assert _told(tmp_path, line)[0].endswith("sets NEMO_RUN_DIR, which is the profile's workspace")


def test_an_override_contradicts_too(tmp_path: Path) -> None:
    file = tmp_path / "env.toml"
    file.write_text('[p]\nexecutor = "local"\nsecrets = ["LICENSE"]\n', encoding="utf-8")
    with pytest.raises(ProfileError, match=r"in secrets too \(.*env\.toml:3\)"):
        load_env_profile("p", file).with_overrides({"env_vars": {"LICENSE": "1"}}, COMMAND_LINE)
