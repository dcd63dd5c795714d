from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import NemotronError
from nemo_runspec.rehearsal.python_environment import PythonEnvironment
from nemo_runspec.rehearsal.sandbox import Sandbox
from tests.nemo_runspec.rehearsal.pods import WAIT_S, Pods

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    sandbox = Sandbox()
    yield Pods(sandbox, tmp_path)
    sandbox.close()


# How pods end.


def test_the_exit_code_is_the_command_s(pods: Pods) -> None:
    assert pods.run("sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")


def test_what_a_command_leaves_behind_ends_with_it(pods: Pods) -> None:
    lifeline = pods.lifeline()
    script = f"setsid sleep 1000 > /mnt/nfs/{lifeline.name} & read line < /mnt/nfs/{lifeline.name}2"
    os.mkfifo(pods.volume / f"{lifeline.name}2")
    pod = pods.start("sh", "-c", script)
    with lifeline.open("rb") as end:
        assert pod.poll() is None
        assert pod.wait(0) is None
        (pods.volume / f"{lifeline.name}2").write_text("go on\n", encoding="utf-8")
        assert end.read() == b""
    assert pod.wait(WAIT_S) == 0


def test_a_pod_that_is_stopped_may_end_by_itself(pods: Pods) -> None:
    lifeline = pods.lifeline()
    script = f"trap 'echo ending; exit 5' TERM; exec 3> /mnt/nfs/{lifeline.name}; sleep 1000 3>&- & wait"
    pod = pods.start("sh", "-c", script)
    with lifeline.open("rb"):
        pod.stop(WAIT_S)
    assert pod.poll() == 5
    assert pod.spec.log.read_text(encoding="utf-8") == "ending\n"


def test_a_pod_that_does_not_end_is_killed_with_everything_in_it(pods: Pods) -> None:
    lifeline = pods.lifeline()
    pod = pods.start("sh", "-c", f"trap '' TERM; setsid sleep 1000 > /mnt/nfs/{lifeline.name} & sleep 1000")
    with lifeline.open("rb") as end:
        pod.stop(0)
        assert end.read() == b""
    assert pod.poll() == 128 + signal.SIGKILL
    pod.stop(0)  # has ended


@pytest.mark.parametrize("end", ["close", "release"])
def test_the_end_of_a_sandbox_or_network_ends_its_pods(pods: Pods, end: str) -> None:
    lifeline = pods.lifeline()
    pod = pods.start("sh", "-c", f"setsid sleep 1000 > /mnt/nfs/{lifeline.name} & sleep 1000")
    with lifeline.open("rb") as pipe:
        pods.sandbox.close() if end == "close" else pods.sandbox.release("job")
        assert pipe.read() == b""
    assert pod.poll() == 128 + signal.SIGKILL
    assert pods.run("echo", "again") == (0, "again\n")  # as when a suspended job is resumed


ORPHANED = """
import sys, threading
from pathlib import Path
from nemo_runspec.rehearsal.pod import PodSpec, VolumeMount
from nemo_runspec.rehearsal.sandbox import Sandbox

folder = Path(sys.argv[1])
sandbox = Sandbox()
command = ("sh", "-c", "setsid sleep 1000 > /mnt/nfs/lifeline & sleep 1000")
spec = PodSpec("pod", command, (), "job", (), (VolumeMount(folder / "volume", "/mnt/nfs"),), folder / "log")
starter = threading.Thread(target=sandbox.start, args=(spec,))
starter.start()
starter.join()
print("started", flush=True)
sys.stdin.read()
"""


def test_pods_outlive_the_thread_that_started_them_but_not_the_process(pods: Pods, tmp_path: Path) -> None:
    lifeline = pods.lifeline()
    command = (sys.executable, "-c", ORPHANED, str(tmp_path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        with lifeline.open("rb") as end:
            assert parent.stdout.readline() == b"started\n"
            os.set_blocking(end.fileno(), False)
            assert end.read() is None  # it runs
            os.set_blocking(end.fileno(), True)
            parent.send_signal(signal.SIGKILL)
            assert end.read() == b""


def test_it_needs_no_root() -> None:
    """Run a pod as nobody where the tests run as root, and as whoever runs the tests else."""
    folder = Path(tempfile.mkdtemp())
    sandbox = Sandbox(PythonEnvironment(Path("/usr/bin/python3")))
    try:
        folder.chmod(0o777)
        child = os.fork()
        if child == 0:
            _run_unprivileged(sandbox, folder)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (folder / "volume" / "result").read_text(encoding="utf-8") == "0\n"
        assert (folder / "volume" / "result").stat().st_uid != 0
    finally:
        shutil.rmtree(folder)


def _run_unprivileged(sandbox: Sandbox, folder: Path) -> None:
    """End this process, a fork, with the exit code of a pod."""
    code: int | None = 99
    try:
        if os.geteuid() == 0:
            os.setgroups(())
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        code, _ = Pods(sandbox, folder).run("sh", "-c", "id -u > /mnt/nfs/result")
        sandbox.close()
    finally:
        os._exit(99 if code is None else code)


# What the machine lacks.


def fake(folder: Path, script: str) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_without_bubblewrap_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NemotronError, match="needs bwrap, which is not installed") as caught:
        Sandbox()
    assert "apt-get install bubblewrap" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
        ("exit 1", "bubblewrap gave no reason"),
    ],
)
def test_where_user_namespaces_are_refused_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    fake(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NemotronError, match=words) as caught:
        Sandbox()
    assert "kernel.apparmor_restrict_unprivileged_userns" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_program_that_cannot_be_started_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bwrap").write_bytes(b"\x7fELF is not a program")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NemotronError, match=r"cannot start .*bwrap: Exec format error"):
        Sandbox()


def test_a_machine_without_room_is_no_pod_that_failed(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    assert pods.run("true")[0] == 0
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(NemotronError, match="cannot start pod job-2: Resource temporarily unavailable"):
        pods.start("true")
