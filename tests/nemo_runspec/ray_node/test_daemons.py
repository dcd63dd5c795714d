"""Tests of Ray's processes on a node; Ray itself is in test___main__.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nemo_runspec.ray_node import daemons
from nemo_runspec.ray_node.daemons import Daemons, RayStartError, address_towards, cpus, free_port, gpus

# What it starts leaves its parent, its session and its group, and does not end when it is asked to.
LEAVES_ORPHANS = """
import subprocess, sys, time
from nemo_runspec.ray_node.daemons import adopt_orphans, descendants, end_descendants
adopt_orphans()
stays = "print('there', flush=True); time.sleep(300)"
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + stays
parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {stubborn!r}], start_new_session=True)"
with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
    assert process.stdout.readline() == b"there\\n"
    process.stdout.close()
assert len(descendants()) == 1, descendants()
begin = time.monotonic()
end_descendants(at_once=%s)
assert descendants() == []
assert (time.monotonic() - begin < 4) is %s
"""


@pytest.mark.parametrize(("at_once", "quick"), [("()", False), ("descendants()", True)])
def test_what_was_started_is_ended_wherever_it_has_gone(at_once: str, *, quick: bool) -> None:
    subprocess.run([sys.executable, "-c", LEAVES_ORPHANS % (at_once, quick)], check=True, timeout=60)


def test_resources_are_the_allocations() -> None:
    assert cpus({"SLURM_CPUS_ON_NODE": "3"}) == 3
    assert 1 <= cpus({}) <= len(os.sched_getaffinity(0))
    assert cpus({"SLURM_CPUS_ON_NODE": "many"}) == cpus({})
    assert (gpus({"SLURM_GPUS_ON_NODE": "2"}, 8), gpus({}, 8)) == (2, 8)
    assert (gpus({"CUDA_VISIBLE_DEVICES": "0, 3"}, 8), gpus({"CUDA_VISIBLE_DEVICES": ""}, 8)) == (2, 0)


@pytest.fixture
def spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process's children: a node ends all that are below its process, and here that is not only Ray."""
    monkeypatch.setattr(daemons, "end_descendants", lambda **_: None)


@pytest.mark.usefixtures("spared")
def test_a_ray_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho no room; exit 3\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    node = Daemons({}, cpus=1, gpus=0)
    with pytest.raises(RayStartError) as raised:
        node.join("127.0.0.1:1")
    assert raised.value.output == "no room\n"
    assert node.ended() == "raylet"
    assert node.folder.is_dir()
    node.stop()
    assert not node.folder.exists()


@pytest.mark.usefixtures("spared")
def test_what_a_killed_node_has_left_goes_and_what_is_used_stays() -> None:
    code = "import os; from nemo_runspec.ray_node.daemons import Daemons; print(Daemons({}, cpus=1, gpus=0).folder); "
    killed = subprocess.run(
        [sys.executable, "-c", code + "os.sys.stdout.flush(); os.kill(os.getpid(), 9)"],
        capture_output=True,
        text=True,
        check=False,
    )
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    used = Daemons({}, cpus=1, gpus=0)
    assert not left.exists()
    another = Daemons({}, cpus=1, gpus=0)
    assert used.folder.is_dir()
    for node in (used, another):
        node.stop()


def test_addresses_and_ports() -> None:
    assert address_towards("127.0.0.1:80") == "127.0.0.1"
    assert free_port("127.0.0.1") > 0
