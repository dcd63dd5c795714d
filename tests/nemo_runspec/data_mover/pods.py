"""Small repositories, and pods that are processes of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from nemo_runspec.data_mover import boot, plan_for
from nemo_runspec.platforms.workload import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nemo_runspec.data_mover import Plan

TIMEOUT_S = 60
JOB_NAME = "job-abc123"

FILES = {
    "pyproject.toml": "[project]\n",
    "README.md": "not part of the source\n",
    "src/nemo_runspec/__init__.py": "TOOL = 1\n",
    "src/nemotron/__init__.py": "",
    "src/nemotron/model.py": "LAYERS = 52\n",
    "src/nemotron/recipes/shared.yaml": "seed: 1\n",
    "src/nemotron/recipes/nano3/sft/train.py": "import nemotron.model\nprint(nemotron.model.LAYERS)\n",
    "src/nemotron/recipes/nano3/sft/config/tiny.yaml": "steps: 2\n",
    "src/nemotron/recipes/super3/sft/train.py": "print('super')\n",
}
SCRIPT = "src/nemotron/recipes/nano3/sft/train.py"


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def repository(root: Path) -> Path:
    """Make a small repository with two recipe families."""
    return write(root, FILES)


def plan(root: Path, home: Path, *, nodes: int = 1, launch: str = "", value_bytes: int = 9_000) -> Plan:
    """Plan a job of the repository, with a launch script."""
    return plan_for(
        executor_type="dgxcloud",
        script_path=root / SCRIPT,
        repo_root=root,
        pod_nemotron_home=str(home),
        job_files={"launch.sh": (launch.encode(), True)},
        nodes=nodes,
        value_bytes=value_bytes,
    )


def variables(plan: Plan, link: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give a pod's environment: what the plan says, with the job's name and the link in a place that may be written."""
    env = {name: value.replace(NAME, JOB_NAME) for name, value in plan.env.items()}
    orders = {name: value for name, value in json.loads(env["NEMO_RUNSPEC_BOOT"]).items() if name != "check"}
    env["NEMO_RUNSPEC_BOOT"] = boot.boot_value({**orders, "link": str(link)})
    return {"PATH": os.environ["PATH"], "HOSTNAME": f"{JOB_NAME}-0-0", **(more or {}), **env}


def argv(plan: Plan, command: Sequence[str]) -> list[str]:
    """Give the words that a pod executes, with this Python."""
    return [sys.executable, *plan.command[1:], *command]


def run(plan: Plan, command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a pod to its end."""
    return subprocess.run(
        argv(plan, command), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
    )
