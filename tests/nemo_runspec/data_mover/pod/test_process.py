from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import plan_for
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from nemo_runspec.data_mover import Plan

HOST = f"{pods.JOB_NAME}-0-0"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def plan(home: Path) -> Plan:
    return plan_for(executor_type="lepton", source=False, pod_nemotron_home=str(home))


@pytest.fixture
def env(plan: Plan, tmp_path: Path) -> dict[str, str]:
    return pods.variables(plan, tmp_path / "nemo_run")


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def start(plan: Plan, command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(pods.argv(plan, command), env=env, stdout=subprocess.PIPE, text=True)


def log(home: Path) -> bytes:
    return (home / "jobs" / pods.JOB_NAME / "logs" / f"{HOST}.log").read_bytes()


def test_output_is_copied_byte_for_byte(plan: Plan, env: dict[str, str], home: Path) -> None:
    command = python("import sys; sys.stdout.buffer.write(bytes(range(256)) * 4000 + b'\\r\\xff')")
    done = pods.run(plan, command, env)
    assert done.stdout == bytes(range(256)) * 4000 + b"\r\xff" + f"\n[nemo-runspec] {HOST} exit code 0\n".encode()
    assert log(home) == done.stdout


def test_output_and_errors_keep_their_order(plan: Plan, env: dict[str, str]) -> None:
    done = pods.run(plan, ["bash", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done"], env)
    expected = [line for i in (1, 2, 3) for line in (f"out {i}", f"err {i}")]
    assert done.stdout.decode().splitlines()[:-1] == expected


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["bash", "-c", "exit 7"], 7),
        (["bash", "-c", "kill -9 $$"], 137),
        (["bash", "-c", "kill -TERM $$"], 143),
        (["no-such-program"], 127),
        (["/"], 126),
    ],
)
def test_the_exit_code_is_the_commands(
    plan: Plan, env: dict[str, str], home: Path, command: list[str], code: int
) -> None:
    done = pods.run(plan, command, env)
    assert done.returncode == code
    assert done.stdout.decode().splitlines()[-1] == f"[nemo-runspec] {HOST} exit code {code}"
    assert (home / "jobs" / pods.JOB_NAME / "exit" / HOST).read_text() == f"{code}\n"


def test_a_command_that_the_kernel_refuses_says_so(plan: Plan, env: dict[str, str]) -> None:
    # Longer than the kernel's limit only after the paths in it have been replaced by longer ones.
    longer = env | pods.variables(plan, Path("/proc/l"))
    done = pods.run(plan, ["echo", " /proc/l" * 16_000], longer)
    assert done.returncode == 126
    assert b"Argument list too long" in done.stdout


SIGNALLED = """
import os, signal, sys
def term(number, frame): os.write(1, b"TERM\\n")
def interrupt(number, frame): os.write(1, b"INT\\n"); sys.exit(5)
signal.signal(signal.SIGTERM, term); signal.signal(signal.SIGINT, interrupt)
os.write(1, b"ready\\n")
while True: signal.pause()
"""


def test_a_signal_is_passed_on_once(plan: Plan, env: dict[str, str]) -> None:
    pod = start(plan, python(SIGNALLED), env)
    assert pod.stdout
    assert pod.stdout.readline() == "ready\n"
    pod.send_signal(signal.SIGTERM)
    assert pod.stdout.readline() == "TERM\n"
    pod.send_signal(signal.SIGTERM)
    pod.send_signal(signal.SIGINT)
    rest, _ = pod.communicate(timeout=pods.TIMEOUT_S)
    assert rest.splitlines() == ["INT", f"[nemo-runspec] {HOST} exit code 5"]
    assert pod.returncode == 5


SAVES = """
import os, signal, sys, time
def term(number, frame): time.sleep(0.3); os.write(1, b"saved\\n"); sys.exit(0)
signal.signal(signal.SIGTERM, term)
os.write(1, b"ready\\n")
while True: signal.pause()
"""


def test_what_a_shell_has_started_may_end_in_its_own_time(plan: Plan, env: dict[str, str]) -> None:
    pod = start(plan, ["bash", "-c", f"{sys.executable} -c '{SAVES}'; echo \"not reached\""], env)
    assert pod.stdout
    assert pod.stdout.readline() == "ready\n"
    pod.send_signal(signal.SIGTERM)
    rest, _ = pod.communicate(timeout=pods.TIMEOUT_S)
    assert rest.splitlines() == ["saved", f"[nemo-runspec] {HOST} exit code 143"]


def test_a_signal_that_comes_while_the_job_is_put_in_place(plan: Plan, env: dict[str, str], home: Path) -> None:
    (home / "_nemotron").mkdir(parents=True)
    handle = os.open(home / "_nemotron", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        pod = start(plan, ["sleep", "300"], env)
        deadline = time.monotonic() + pods.TIMEOUT_S
        while not (home / "jobs" / pods.JOB_NAME / "code").is_dir():
            assert pod.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)  # there is no event for a folder that another process makes
        pod.send_signal(signal.SIGTERM)
    finally:
        os.close(handle)
    pod.communicate(timeout=pods.TIMEOUT_S)
    assert pod.returncode == 143


def test_what_is_left_behind_does_not_hold_the_pod(plan: Plan, env: dict[str, str]) -> None:
    pod = start(plan, ["bash", "-c", "sleep 300 & echo $!; exit 4"], env)
    assert pod.stdout
    left = int(pod.stdout.readline())
    try:
        assert pod.wait(timeout=pods.TIMEOUT_S) == 4
        # The pod has ended while somebody else still holds the pipe of its command.
        os.kill(left, 0)
    finally:
        os.kill(left, signal.SIGKILL)
        pod.stdout.close()


# Process 1 of a container inherits orphans; so does a process that has asked for them, also after execve.
INHERITS = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
ORPHANS = """
import os, subprocess, sys, time
orphan = int(subprocess.check_output(["sh", "-c", "(exec >&-; exec 2>&-; exec sleep 0) & echo $!"]))
deadline = time.monotonic() + 30
while os.path.exists(f"/proc/{orphan}"):
    if time.monotonic() > deadline:
        sys.exit("the orphan is a zombie")
    time.sleep(0.01)
print("reaped")
"""


def test_orphans_are_reaped(plan: Plan, env: dict[str, str]) -> None:
    command = [sys.executable, "-c", INHERITS, *pods.argv(plan, python(ORPHANS))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=pods.TIMEOUT_S, check=False)
    assert done.stdout.splitlines() == ["reaped", f"[nemo-runspec] {HOST} exit code 0"]


def test_output_goes_on_where_no_log_can_be_kept(home: Path, tmp_path: Path) -> None:
    files = {f"logs/{HOST}.log/in-the-way": (b"", False)}
    plan = plan_for(executor_type="lepton", source=False, pod_nemotron_home=str(home), job_files=files)
    done = pods.run(plan, ["echo", "hello"], pods.variables(plan, tmp_path / "nemo_run"))
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("no copy of the output is kept: ")
    assert lines[1:] == ["hello", f"[nemo-runspec] {HOST} exit code 0"]


def test_the_log_is_complete_where_nobody_reads(plan: Plan, env: dict[str, str], home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = pods.argv(plan, ["bash", "-c", "echo one; echo two"])
    assert subprocess.run(command, env=env, stdout=writing, timeout=pods.TIMEOUT_S, check=False).returncode == 0
    os.close(writing)
    assert log(home).decode() == f"one\ntwo\n[nemo-runspec] {HOST} exit code 0\n"
