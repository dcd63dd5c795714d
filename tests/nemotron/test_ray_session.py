"""A private Ray: what its user's signals do to it, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
import ray

from nemo_runspec.errors import ConfigError
from nemotron.ray_session import open_ray
from tests.clusters.beds.processes import wait_until

USER = """\
import json, os, signal, sys
from nemotron.ray_session import open_ray

class Worker:
    def work(self):
        return os.getpid()

with open_ray() as joined:
    ray = joined()
    worker = ray.remote(num_cpus=0)(Worker).remote()
    first = ray.get(worker.work.remote())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
        os.killpg(0, number)
    assert ray.get(worker.work.remote()) == first
    print(json.dumps({"worker": first, "folder": ray._private.worker._global_node.get_session_dir_path()}), flush=True)
    sys.stdin.read()
print("the end", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_private_ray_outlives_signals_to_its_user_s_group_and_ends_with_its_user(*, killed: bool) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with subprocess.Popen(
        [sys.executable, "-c", USER],
        env=variables,
        text=True,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as user:
        assert user.stdout is not None
        told = json.loads(user.stdout.readline())
        below = psutil.Process(user.pid).children(recursive=True)
        folder = Path(told["folder"])
        assert folder.is_dir()
        assert told["worker"] in [one.pid for one in below]
        if killed:
            user.send_signal(signal.SIGKILL)
        out, err = user.communicate()
    assert (user.returncode, out, err) == ((-signal.SIGKILL, "", "") if killed else (0, "the end\n", ""))
    wait_until(lambda: not psutil.wait_procs(below, timeout=0)[1], 30, f"end of {below}")
    wait_until(lambda: not folder.parent.exists(), 10, f"end of {folder.parent}")


def test_a_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n", encoding="ascii")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_ray() as joined, pytest.raises(ConfigError, match="Ray does not start on this machine: no memory"):
        joined()


def test_a_ray_that_was_joined_before_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> NoReturn:
        message = "it is somebody else's"
        raise AssertionError(message)

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", refuse)
    with open_ray() as joined:
        assert joined() is ray


def test_an_address_is_joined_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **how: calls.append(how["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("left"))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with open_ray() as joined:
        assert joined() is ray
    assert calls == ["10.0.0.1:6379", "left"]
