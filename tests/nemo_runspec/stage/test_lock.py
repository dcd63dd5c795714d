from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from nemo_runspec.stage.lock import hold

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """\
import pathlib, sys
from nemo_runspec.stage.lock import hold
hold(pathlib.Path(sys.argv[1]), lambda: print("waiting", flush=True))
print("held", flush=True)
sys.stdin.readline()
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_run_waits_until_the_first_has_ended_however_it_ends(tmp_path: Path) -> None:
    with _holder(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with _holder(tmp_path) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "waiting\n"
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.communicate("\n", timeout=60)
        assert second.returncode == 0


def test_holding_twice_is_holding_once(tmp_path: Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        hold(tmp_path, lambda: calls.append("waiting"))
    assert calls == []
