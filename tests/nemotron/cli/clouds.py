"""A small job of a cloud, for tests of what the command line makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.job import Job, compile_job
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = """\
[far]
executor = "lepton"
nemo_run_dir = "/mnt/shared/nemo_run"
mounts = [{ path = "/", mount_path = "/mnt/shared", from = "node-nfs:shared" }]
node_group = "group"
resource_shape = "cpu.large"
container_image = "image:1"
nodes = 2
gpus_per_node = 0
secrets = ["TEAM_API_KEY"]

[runai]
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "nemotron"
client_secret = "${oc.env:RUNAI_CLIENT_SECRET}"
project_name = "my-project"
pvc_nemo_run_dir = "/mnt/shared/nemo_run"
pvcs = [{ path = "/mnt/shared", claimName = "shared", existingPvc = true }]
container_image = "image:1"
gpus_per_node = 0

[here]
executor = "local"
"""
CONFIG = "run: {env: {}}\ntrain: {lr: 1.0}\n"


def write_profiles(folder: Path, text: str = PROFILES) -> None:
    """Write an env.toml with a profile of each cloud, and one of this machine."""
    write_env_file(folder, text)


def cloud_job(
    folder: Path,
    *,
    profile: str = "far",
    mode: Mode = Mode.RUN,
    rehearse: bool = False,
    as_json: bool = False,
    text: str = PROFILES,
) -> Job:
    """Build a job in a folder that is the working directory."""
    write_profiles(folder, text)
    script = write_recipe(folder / "recipe", launch="torchrun", config=CONFIG)
    return compile_job(script, RecipeConfig(profile=profile, mode=mode, rehearse=rehearse, as_json=as_json))
