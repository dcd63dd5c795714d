from __future__ import annotations

from typing import TYPE_CHECKING

import nemo_run
import pytest

from nemo_runspec import load_executor
from nemo_runspec.env import LeptonProfile, load_env_profile
from nemo_runspec.errors import ProfileError
from nemo_runspec.execution import create_lepton_executor
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.executors.request import lepton_settings
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

    import nemo_runspec.data_mover.packager as packaging

ENV = """
[lepton]
executor = "lepton"
container_image = "an/image:1"
nemo_run_dir = "/mnt/nfs/nemo_run"
node_group = "ng"
resource_shape = "gpu.8xh100-sxm"
nodes = 2
gpus_per_node = 8
nprocs_per_node = 4
repo_root = "~/repo"
exclude = ["*.md"]
secrets = { HF_TOKEN = "team-hf" }
env_vars = { MSG = "two words", MY_TOKEN = "${oc.env:MY_TOKEN}" }
custom_spec = { log = { enable_collection = true } }
mounts = [
  { path = "/", mount_path = "/mnt/nfs", from = "node-nfs:shared" },
  "git+https://host.example/x.git@main,/opt/x",
]
"""


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "repo" / "src").mkdir(parents=True)


def test_a_profile_becomes_an_executor_that_holds_plain_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_env_file(tmp_path, ENV)
    with pytest.raises(ProfileError, match="MY_TOKEN"):
        load_executor("lepton", env_file=file)
    monkeypatch.setenv("MY_TOKEN", "canary")
    executor = load_executor("lepton", env_file=file, nodes=3)
    assert "canary" not in repr(executor)
    assert isinstance(executor, LeptonExecutor)
    assert isinstance(executor, nemo_run.LeptonExecutor)
    assert (executor.profile, executor.nodes, executor.nproc_per_node()) == ("lepton", 3, 4)
    assert (executor.secret_vars, executor.secrets) == ({"HF_TOKEN": "team-hf"}, ["MY_TOKEN"])
    assert executor.mounts == [{"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}]
    assert executor.git_mounts == ["git+https://host.example/x.git@main,/opt/x"]
    assert executor.custom_spec == {"log": {"enable_collection": True}}
    assert executor.workspace == "/mnt/nfs"
    packager: packaging.SourcePackager = executor.packager
    assert (packager.repo_root, packager.exclude) == ("~/repo", ["*.md"])
    assert executor.clone() == executor


def test_a_dry_run_of_the_profile_asks_for_the_same(tmp_path: Path) -> None:
    profile = load_env_profile("lepton", write_env_file(tmp_path, ENV))
    assert isinstance(profile, LeptonProfile)
    executor = create_lepton_executor(profile, env_vars={"OTHER": "1"})
    assert executor.settings == lepton_settings(profile)
    assert executor.env_vars == {"OTHER": "1", "MSG": "two words"}


def test_a_profile_without_an_image_is_told_where_it_stands(tmp_path: Path) -> None:
    text = ENV.replace('container_image = "an/image:1"\n', "").replace(', MY_TOKEN = "${oc.env:MY_TOKEN}"', "")
    file = write_env_file(tmp_path, text)
    with pytest.raises(ProfileError, match="names no container image") as error:
        load_executor("lepton", env_file=file)
    assert error.value.where is not None
    assert load_executor("lepton", env_file=file, image="other:2").container_image == "other:2"
