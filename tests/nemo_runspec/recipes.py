"""Small recipes for tests: a runspec script with its configurations, in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
# /// script
# [tool.runspec]
# schema = "1"
# name = "test/{name}"
# [tool.runspec.run]
# launch = "{launch}"
# [tool.runspec.config]
# dir = "./config"
# default = "default"
# [tool.runspec.env]
# GREETING = "hello there"
# ///
{body}
"""

CONFIG = """\
run:
  env: {nproc_per_node: 1}
artifact: {name: thing}
output_dir: ${workspace:}/thing
train: {lr: 1.0e-3, max_steps: 5, shuffle: true, names: [a, b], path: null}
"""

# Ends at once, and leaves a process that has left its group and holds its output; `left` has its number.
LEAVES_ONE_RUNNING = """\
import pathlib, subprocess
process = subprocess.Popen(["sleep", "300"], start_new_session=True)
pathlib.Path("left").write_text(str(process.pid))
print("ran")
"""

# A profile of each cloud, without its header.
LEPTON_TABLE = """\
executor = "lepton"
nemo_run_dir = "/mnt/shared/nemo_run"
mounts = [{ path = "/", mount_path = "/mnt/shared", from = "node-nfs:shared" }]
node_group = "group"
resource_shape = "cpu.large"
nodes = 2
gpus_per_node = 0
"""
RUNAI_TABLE = """\
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "nemotron"
client_secret = "${oc.env:RUNAI_CLIENT_SECRET}"
project_name = "my-project"
pvc_nemo_run_dir = "/mnt/shared/nemo_run"
pvcs = [{ path = "/mnt/shared", claimName = "shared", existingPvc = true }]
gpus_per_node = 0
"""
IMAGE = 'container_image = "image:1"\n'

PRINT_CONFIG = "import sys\nprint(open(sys.argv[2]).read())"


def write_recipe(
    folder: Path, *, name: str = "hello", launch: str = "direct", body: str = PRINT_CONFIG, config: str = CONFIG
) -> Path:
    """Write a recipe and give the script's path.

    Args:
        folder: Where; made when it is missing.
        name: The recipe's name is `test/<name>`.
        launch: The runspec's launch.
        body: The script's code.
        config: `config/default.yaml`.
    """
    (folder / "config").mkdir(parents=True, exist_ok=True)
    script = folder / f"{name}.py"
    script.write_text(SCRIPT.format(name=name, launch=launch, body=body), encoding="utf-8")
    (folder / "config" / "default.yaml").write_text(config, encoding="utf-8")
    return script


def write_env_file(folder: Path, text: str) -> Path:
    """Write an env.toml into a folder and give its path."""
    path = folder / "env.toml"
    path.write_text(text, encoding="utf-8")
    return path
