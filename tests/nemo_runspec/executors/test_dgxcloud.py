from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nemo_run
import pytest

from nemo_runspec import load_executor
from nemo_runspec.env import DGXCloudProfile, load_env_profile
from nemo_runspec.errors import ProfileError
from nemo_runspec.execution import create_dgxcloud_executor
from nemo_runspec.executors.credentials import read_secret
from nemo_runspec.executors.dgxcloud import DGXCloudExecutor
from nemo_runspec.executors.request import runai_settings
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

ENV = """
[dgxcloud]
executor = "dgxcloud"
container_image = "an/image:1"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
app_id = "app"
app_secret = "canary-literal"
project_name = "p"
pvc_nemo_run_dir = "/mnt/w/nemo_run"
pvcs = [{ path = "/mnt/w", claimName = "team", existingPvc = true }]
dgxcloud_max_args_chars = 8000
pip_extras = ["omegaconf"]
"""
PLACE: dict[str, Any] = {
    "base_url": "https://team.example/api/v1",
    "kube_apiserver_url": "https://kube.example",
    "project_name": "p",
    "container_image": "an/image:1",
    "pvc_nemo_run_dir": "/mnt/w/nemo_run",
}


def test_a_profile_becomes_an_executor_without_its_secret(tmp_path: Path) -> None:
    executor = load_executor("dgxcloud", env_file=write_env_file(tmp_path, ENV), nodes=2)
    assert isinstance(executor, DGXCloudExecutor)
    assert isinstance(executor, nemo_run.DGXCloudExecutor)
    assert "canary" not in repr(executor)
    assert read_secret(executor.client_secret) == "canary-literal"
    assert (executor.client_id, executor.nodes, executor.MAX_ARGS_CHARS) == ("app", 2, 8000)
    assert executor.pvcs == [{"path": "/mnt/w", "claimName": "team", "existingPvc": True}]
    assert executor.pip_extras == ["omegaconf"]
    assert executor.clone() == executor


def test_a_dry_run_of_the_profile_asks_for_the_same(tmp_path: Path) -> None:
    profile = load_env_profile("dgxcloud", write_env_file(tmp_path, ENV))
    assert isinstance(profile, DGXCloudProfile)
    assert create_dgxcloud_executor(profile).settings == runai_settings(profile)


def test_a_reference_to_a_variable_needs_no_variable_until_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNAI_SECRET", raising=False)
    reference = "${oc.env:RUNAI_SECRET}"
    file = write_env_file(tmp_path, ENV.replace("canary-literal", reference))
    assert load_executor("dgxcloud", env_file=file).client_secret == reference


def test_the_older_names_are_taken_and_a_secret_is_not() -> None:
    executor = DGXCloudExecutor(app_id="app", app_secret="${oc.env:S}", **PLACE)  # noqa: S106 - a reference and no secret
    assert (executor.client_id, executor.client_secret) == ("app", "${oc.env:S}")
    assert executor.clone() == executor
    with pytest.raises(ProfileError, match="client_secret holds a secret") as error:
        DGXCloudExecutor(client_id="app", client_secret="canary-literal", **PLACE)  # noqa: S106 - the mistake itself
    assert "canary" not in str(error.value)
