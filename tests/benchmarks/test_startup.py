from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import startup

if TYPE_CHECKING:
    from pathlib import Path


def test_json_holds_both_comparisons(capsys: pytest.CaptureFixture[str]) -> None:
    # Several, because other tests may be running beside this one: the median leaves out a start that was held up.
    assert startup.main(["--runs", "5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["runs"] == 5
    assert [row["quantity"] for row in printed["comparisons"]] == ["wall", "memory"]
    for row in printed["comparisons"]:
        assert row["ratio"] == pytest.approx(row["nemotron"] / row["bare"])
        assert row["met"] is (row["ratio"] <= row["limit"])


def test_a_row_says_whether_the_limit_is_kept() -> None:
    kept = startup.Comparison("wall", "s", nemotron=0.3, bare=0.2, limit=1.5)
    broken = startup.Comparison("memory", "MiB", nemotron=60, bare=40, limit=1.3)
    assert kept.line().split() == ["wall", "(s)", "0.300", "0.200", "1.50", "1.5", "pass"]
    assert broken.line().split() == ["memory", "(MiB)", "60.000", "40.000", "1.50", "1.3", "FAIL"]


def test_commands_run_in_turn_after_one_start_that_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write(sys.argv[2])"
    commands = {name: [sys.executable, "-c", script, str(log), name] for name in "ab"}
    found = startup.measure(commands, 2, tmp_path)
    assert log.read_text() == "ababab"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 2, "b": 2}
    assert all(run.seconds > 0 and run.memory > 1 << 20 for runs in found.values() for run in runs)


def test_a_program_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        startup.start([sys.executable, "-c", "raise SystemExit(3)"], {}, tmp_path)
