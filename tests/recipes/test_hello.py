from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nemo_runspec.spec import config_names, parse

RECIPE = Path(__file__).parents[2] / "recipes" / "hello"
SCRIPT = RECIPE / "train.py"


def settings(folder: Path) -> Path:
    """Write what the launcher would write: the configuration without its `run` section, with every value final."""
    config = yaml.safe_load((RECIPE / "config" / "default.yaml").read_text(encoding="utf-8"))
    del config["run"]
    config |= {"output_dir": str(folder / "out"), "steps": 100}
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_it_describes_itself() -> None:
    spec = parse(SCRIPT)
    assert (spec.name, spec.run.launch, spec.resources.gpus_per_node) == ("hello", "torchrun", 0)
    assert spec.config_dir == RECIPE / "config"
    assert config_names(spec.config_dir) == ["default"]


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_find_the_same_weights_together(processes: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*torchrun, str(SCRIPT), "--config", str(settings(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["processes"] == processes
    assert result["last"] < 0.02 < result["first"]
    assert result["weight_error"] < 0.05
    assert result["spread"] == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("hello  step")]
    assert [line.split()[2] for line in lines] == ["1/100", "40/100", "80/100", "100/100"]
