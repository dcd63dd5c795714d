"""The Docker engine of the test bed: it works, two of them do not meet, and nothing is left of one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds import images
from tests.clusters.beds.docker import DockerBed
from tests.clusters.beds.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(docker_bed: DockerBed) -> Iterator[Path]:  # noqa: ARG001 - the bed says whether the machine can have one
    with tempfile.TemporaryDirectory(prefix="bed-") as made:
        yield Path(made) / "engine"


def host_state() -> list[str]:
    """Give the network interfaces, iptables' rules and mounts of this machine that an engine could have made."""
    rules = subprocess.run(["/usr/sbin/iptables-save"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(("docker", "br-", "veth"))]
    found += [line for line in rules.splitlines() if "docker" in line.lower()]
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return found + [line for line in mounts if "/engine/" in line or "overlay" in line]


def test_it_has_images_without_a_registry(docker_bed: DockerBed) -> None:
    python = docker_bed.run("run", "--rm", images.PYTHON, "bash", "-c", "python3 --version").stdout
    assert python.startswith("Python 3.")
    busybox = docker_bed.run("run", "--rm", images.BUSYBOX, "sh", "-c", "ls /bin/bash", check=False)
    assert busybox.returncode == 1
    assert docker_bed.containers() == []


def test_two_engines_do_not_meet_and_leave_nothing(docker_bed: DockerBed, folder: Path) -> None:
    before = host_state()
    other = DockerBed.start(folder)
    try:
        other.run("network", "create", "net")
        other.run("run", "--detach", "--network", "net", "--name", "mine", images.BUSYBOX, "sleep", "600")
        assert [found["Name"] for found in other.containers()] == ["/mine"]
        assert other.networks() == ["net"]
        assert docker_bed.containers() == []
        assert docker_bed.networks() == []
        assert other.leftovers() != []
        assert host_state() == before
    finally:
        other.stop()
    assert other.leftovers() == []
    assert host_state() == before


def test_clear_removes_what_a_test_has_made(docker_bed: DockerBed) -> None:
    docker_bed.run("network", "create", "net")
    docker_bed.run("run", "--detach", "--network", "net", images.BUSYBOX, "sleep", "600")
    docker_bed.clear()
    assert docker_bed.containers() == []
    assert docker_bed.networks() == []


@pytest.mark.parametrize(("live_restore", "after"), [(False, ("exited", 137)), (True, ("running", 0))])
def test_containers_outlive_a_killed_engine_only_with_live_restore(
    folder: Path, after: tuple[str, int], *, live_restore: bool
) -> None:
    bed = DockerBed.start(folder, live_restore=live_restore)
    try:
        bed.run("run", "--detach", "--stop-timeout", "1", "--name", "mine", images.BUSYBOX, "sleep", "600")
        bed.kill()
        assert bed.run("version", check=False).returncode != 0
        bed.start_daemon()
        (found,) = bed.containers()
        assert (found["State"]["Status"], found["State"]["ExitCode"]) == after
    finally:
        bed.stop()
    assert bed.leftovers() == []


def test_it_ends_with_a_session_that_is_killed(folder: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from tests.clusters.beds.docker import DockerBed;"
        "bed = DockerBed.start(Path(sys.argv[1])); bed.run('run', '--detach', 'busybox:1', 'sleep', '600');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=root, timeout=60, check=False)
    assert done.returncode == -9
    wait_until(lambda: not folder.exists(), 20, "the bed to be gone")
