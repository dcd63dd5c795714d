from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nemo_runspec import torchrun

if TYPE_CHECKING:
    from pathlib import Path

RANK = """\
import os, pathlib, signal, sys, time
folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
rank = os.environ["RANK"]
if what == "fail" and rank == "1":
    raise SystemExit(3)
if what == "killed" and rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
if what != "ok":
    os.write(1, b"waiting\\n")  # in one piece: both ranks say it
    time.sleep(120)
(folder / rank).write_text(os.environ["WORLD_SIZE"])
"""


def _start(tmp_path: Path, what: str) -> subprocess.Popen[str]:
    script = tmp_path / "rank.py"
    script.write_text(RANK, encoding="utf-8")
    command = [sys.executable, "-m", "nemo_runspec.torchrun", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, str(script), str(tmp_path), what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_every_rank_runs(tmp_path: Path) -> None:
    process = _start(tmp_path, "ok")
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0
    assert {(tmp_path / rank).read_text(encoding="utf-8") for rank in "01"} == {"2"}


@pytest.mark.parametrize(("what", "code"), [("fail", 3), ("killed", 128 + signal.SIGKILL)])
def test_the_exit_code_is_that_of_the_rank_that_failed(tmp_path: Path, what: str, code: int) -> None:
    process = _start(tmp_path, what)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert "local_rank: 1" in errors
    assert "Traceback" not in errors


def test_without_pytorch_the_way_to_get_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert torchrun.main([]) == 2
    assert "needs PyTorch" in capsys.readouterr().err


def test_a_signal_is_told_as_the_shell_does(tmp_path: Path) -> None:
    with _start(tmp_path, "wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
