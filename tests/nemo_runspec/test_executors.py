from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import nemo_runspec
from nemo_runspec.env import EXECUTORS, LocalProfile, load_env_profile
from nemo_runspec.errors import ProfileError
from nemo_runspec.execution import create_executor, create_local_executor, get_executor_type, get_startup_commands
from nemo_runspec.executors import FACTORIES, build_executor, resolve_profile
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

ENV = """
[here]
executor = "local"
nproc_per_node = 2
env_vars = { MSG = "a b", MY_TOKEN = "canary" }
startup_commands = ["echo hi"]

[cluster]
executor = "slurm"
account = "a"
"""


def test_every_factory_is_of_a_known_executor() -> None:
    assert set(FACTORIES) <= set(EXECUTORS)


def test_a_profile_becomes_a_nemo_run_executor(tmp_path: Path) -> None:
    profile = load_env_profile("here", write_env_file(tmp_path, ENV))
    executor = create_executor(profile, {"OTHER": "1"})
    assert type(executor).__name__ == "LocalExecutor"
    assert executor.nproc_per_node() == 2
    assert executor.env_vars == {"OTHER": "1", "MSG": "a b"}
    assert isinstance(profile, LocalProfile)
    assert create_local_executor(profile).env_vars == {"MSG": "a b"}
    resolved = LocalProfile(name="x", env_vars={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "A": "${B}"})
    assert build_executor(resolved).env_vars == {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "A": "${B}"}
    assert (get_executor_type(profile), get_startup_commands(profile)) == ("local", ["echo hi"])


def test_a_notebook_loads_an_executor_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary")
    file = write_env_file(tmp_path, ENV)
    executor = nemo_runspec.load_executor("here", env_file=file, nproc_per_node=3)
    assert executor.nproc_per_node() == 3
    assert executor.clone().nproc_per_node() == 3
    assert list(nemo_runspec.list_profiles(file)) == ["here", "cluster"]
    assert "canary" not in repr(executor)


def test_a_notebook_has_one_process_for_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    file = write_env_file(tmp_path, '[here]\nexecutor = "local"\ngpus_per_node = 4\n')
    assert nemo_runspec.load_executor("here", env_file=file, image="an/image:1").nproc_per_node() == 4
    with pytest.raises(ProfileError, match="two names of one key"):
        nemo_runspec.load_executor("here", env_file=file, image="an/image:1", container_image="an/image:2")


def test_variables_in_a_profile_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "value")
    table = 'env_vars = { A = "${oc.env:FROM_HERE}/x", B = "${oc.env:UNSET,other}" }\n'
    file = write_env_file(tmp_path, f'[here]\nexecutor = "local"\n{table}')
    expected = {"A": "value/x", "B": "other"}
    assert nemo_runspec.load_executor("here", env_file=file).env_vars == expected
    assert create_executor(load_env_profile("here", file)).env_vars == expected
    resolved = resolve_profile(load_env_profile("here", file))
    assert str(resolved.origins["env_vars"]) == "here (env.toml:3)"
    monkeypatch.delenv("FROM_HERE")
    with pytest.raises(ProfileError, match=r"'env_vars\.A' cannot be filled in.*FROM_HERE") as error:
        nemo_runspec.load_executor("here", env_file=file)
    assert error.value.where is not None
    assert error.value.where.line == 3


def test_a_secret_has_to_be_in_the_notebooks_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LICENSE", raising=False)
    monkeypatch.setenv("MY_TOKEN", "another")
    file = write_env_file(tmp_path, f'{ENV}\n[more]\nextends = "here"\nsecrets = ["LICENSE"]\n')
    with pytest.raises(ProfileError, match="LICENSE, MY_TOKEN") as error:
        nemo_runspec.load_executor("more", env_file=file)
    assert "canary" not in str(error.value)
    monkeypatch.setenv("MY_TOKEN", "canary")
    monkeypatch.setenv("LICENSE", "l-1")
    assert nemo_runspec.load_executor("more", env_file=file).env_vars == {"MSG": "a b"}


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    file = write_env_file(tmp_path, ENV)
    with pytest.raises(ProfileError, match="nodez"):
        nemo_runspec.load_executor("here", env_file=file, nodez=3)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = nemo_runspec.nope
