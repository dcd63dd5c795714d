"""Tests of the command, with a real Ray of two nodes on this machine."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nemo_runspec.ray_node import __main__ as command
from nemo_runspec.ray_node.daemons import free_port

DRIVER = """
import os, sys, ray
ray.init(log_to_driver=False, configure_logging=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Worker:
    def node(self):
        return ray.get_runtime_context().get_node_id()
workers = [Worker.remote() for _ in range(2)]
print(len(set(ray.get([worker.node.remote() for worker in workers]))), int(ray.cluster_resources()["GPU"]), flush=True)
sys.exit(5)
"""


def left_by_ray() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("nemo-ray-*"))


@pytest.mark.slow
def test_two_nodes_are_one_ray_and_leave_nothing(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    before = left_by_ray()
    node = [sys.executable, "-m", "nemo_runspec.ray_node"]
    common = ["--nodes", "2", "--head-addr", "127.0.0.1", "--port", str(free_port("127.0.0.1")), "--gpus", "3"]
    started = [
        subprocess.Popen(
            [*node, *common, "--node-rank", str(rank), "--", sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (1, 0)
    ]
    ends = [(*process.communicate(timeout=240), process.returncode) for process in started]
    assert [code for *_, code in ends] == [5, 5], ends
    assert ends[1][0].splitlines()[-1] == "2 6", ends
    assert left_by_ray() == before


def test_without_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    place = ["--nodes", "2", "--node-rank", "0", "--head-addr", "h", "--port", "1"]
    assert command.main([*place, "--", "python", "x.py", "--flag"]) == 2
    assert "not installed here" in capsys.readouterr().err
