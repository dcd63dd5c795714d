from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.pod_files import SHIMS, hosts, in_memory, open_files, root_files
from nemo_runspec.rehearsal.python_environment import PythonEnvironment

ENVIRONMENT = PythonEnvironment(Path("/opt/my python/bin/python3.11"))


def test_every_name_of_a_job_is_this_machine() -> None:
    spec = PodSpec("j-0-ab1cd", (), (), "j", ("worker-0.j-job-svc", "j-0-ab1cd"), (), Path("log"))
    assert hosts(spec).decode().splitlines() == [
        "127.0.0.1 localhost",
        "127.0.0.1 j-0-ab1cd",
        "127.0.0.1 worker-0.j-job-svc",
    ]


def test_a_file_in_memory_is_read_from_its_beginning() -> None:
    descriptor = in_memory(b"x" * 100_000)
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"x" * 100_000


def test_the_options_name_the_files_they_open() -> None:
    descriptors: list[int] = []
    options = open_files({"/etc/x": (b"1", 0o644), "/bin/y": (b"2", 0o755)}, descriptors)
    first, second = map(str, descriptors)
    assert options == ["--perms", "0644", "--file", first, "/etc/x", "--perms", "0755", "--file", second, "/bin/y"]
    for descriptor, content in zip(descriptors, (b"1", b"2"), strict=True):
        with os.fdopen(descriptor, "rb") as file:
            assert file.read() == content


def test_programs_may_be_executed_and_scripts_only_read() -> None:
    files = root_files(ENVIRONMENT, lepton_script=True)
    programs = {f"{SHIMS}/{name}" for name in ("wget", "curl", "python", "python3")}
    assert {path for path, (_, mode) in files.items() if mode == 0o755} == programs
    assert b"exec '/opt/my python/bin/python3.11' \"$@\"" in files[f"{SHIMS}/python"][0]
    assert f"{SHIMS}/lepton_env_to_pytorch.sh" not in root_files(ENVIRONMENT, lepton_script=False)


@pytest.mark.parametrize(("workers", "addresses"), [("1", ""), ("2", "w-1.s"), ("4", "w-1.s,w-2.s,w-3.s")])
def test_lepton_s_script_lists_the_other_workers(workers: str, addresses: str) -> None:
    script = root_files(ENVIRONMENT, lepton_script=True)[f"{SHIMS}/lepton_env_to_pytorch.sh"][0].decode()
    worker = {"LEPTON_JOB_WORKER_PREFIX": "w", "LEPTON_SUBDOMAIN": "s", "LEPTON_JOB_WORKER_INDEX": "0"}
    said = subprocess.run(
        ["/bin/sh", "-euc", f'{script}\necho "$WORKER_ADDRS"'],
        env={**worker, "LEPTON_JOB_TOTAL_WORKERS": workers},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"{addresses}\n"
