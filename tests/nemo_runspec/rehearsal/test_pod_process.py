from __future__ import annotations

import io
import os
import subprocess
from typing import TYPE_CHECKING

from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.pod_process import SandboxedPod, next_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def stand_in(folder: Path, script: str, status: bytes) -> SandboxedPod:
    """Give a pod whose processes are one shell script, and of which bubblewrap has said `status`."""
    read, write = os.pipe()
    os.write(write, status)
    os.close(write)
    log = folder / "pod.log"
    log.write_text("earlier\n", encoding="utf-8")
    with log.open("ab") as output:
        process = subprocess.Popen(["/bin/sh", "-c", script], stdout=output, stderr=subprocess.STDOUT)
    spec = PodSpec("pod", ("train", "--fast"), (), "job", (), (), log)
    return SandboxedPod(spec, process, read, ("/usr/bin/env",), len("earlier\n"))


def test_objects_are_read_one_by_one() -> None:
    stream = io.BytesIO(b'{\n  "child-pid": 3,\n  "net-namespace": 4\n}\n{ "exit-code": 7 }\n')
    assert next_json(stream) == {"child-pid": 3, "net-namespace": 4}
    assert next_json(stream) == {"exit-code": 7}
    assert next_json(stream) is None


def test_an_object_that_is_cut_short_is_none() -> None:
    assert next_json(io.BytesIO(b'{\n  "child-pid"')) is None


def test_the_reported_exit_code_counts(tmp_path: Path) -> None:
    pod = stand_in(tmp_path, "exit 1", b'{ "child-pid": 2 }\n{ "exit-code": 137 }\n')
    assert (pod.wait(), pod.poll(), pod.wait(0)) == (137, 137, 137)


def test_without_one_the_command_was_not_executed(tmp_path: Path) -> None:
    refusal = "bwrap: execvp train: No such file or directory"
    pod = stand_in(tmp_path, f"echo '{refusal}'; exit 1", b'{ "child-pid": 2 }\n')
    assert pod.wait() == 127
    assert pod.spec.log.read_text(encoding="utf-8").splitlines() == [
        "earlier",
        refusal,
        "exec train: no such file or directory",
    ]


def test_a_sandbox_that_could_not_be_made_has_said_why(tmp_path: Path) -> None:
    pod = stand_in(tmp_path, "echo 'bwrap: out of ideas'; exit 1", b"")
    assert pod.wait() == 126
    assert pod.spec.log.read_text(encoding="utf-8") == "earlier\nbwrap: out of ideas\n"


def test_a_pod_killed_from_outside_has_a_signal_s_exit_code(tmp_path: Path) -> None:
    assert stand_in(tmp_path, "kill -9 $$", b'{ "child-pid": 2 }\n').wait() == 137


def test_a_pod_without_a_first_process_takes_no_signal_and_is_killed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemo_runspec.rehearsal.pod_process.KILL_S", 0.0)
    pod = stand_in(tmp_path, "exec sleep 1000", b"")
    pod.stop(0)
    assert pod.poll() == 137
