from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import run_tests
from tests.clusters.beds.processes import wait_until

WAIT_S = 60
NOTES = "import os, pathlib, time\nHERE = pathlib.Path(__file__)\n"
PASSES = f"{NOTES}def test_passes(): print('out of', HERE.stem)\n"
FAILS = f"{NOTES}def test_fails(): assert HERE.stem == 'what it is not'\n"
HANGS = f"""{NOTES}
import subprocess
def test_hangs():
    command = subprocess.Popen(["sleep", "300"])
    HERE.with_suffix(".started").write_text(f"{{os.getpid()}} {{command.pid}}")
    command.wait()
"""
LOUD = HANGS.replace("command.wait()", "while command.poll() is None: time.sleep(0.1); print('loud', flush=True)")
STUBBORN = HANGS.replace("import subprocess", "import subprocess, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a small checkout with a copy of the script."""
    for folder in ("scripts", "tests/clusters", "tests/other"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(run_tests.__file__, tmp_path / "scripts")
    (tmp_path / "pytest.ini").touch()
    return tmp_path


def write(checkout: Path, one: str, other: str) -> None:
    for name, text in (
        ("clusters/test_one", one),
        ("clusters/test_slurm_scripts", PASSES),
        ("other/test_other", other),
    ):
        (checkout / "tests" / f"{name}.py").write_text(text, encoding="utf-8")


def start(checkout: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "scripts/run_tests.py", *arguments]
    return subprocess.Popen(
        command,
        cwd=checkout,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # they take seconds to import
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(checkout: Path, *arguments: str) -> tuple[int, str]:
    with start(checkout, *arguments) as process:
        out, _ = process.communicate(timeout=WAIT_S)
    return process.returncode, out


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def hanging(checkout: Path) -> list[int]:
    """Wait until two parts hang, and give the processes of these and of what they have started."""
    started = [checkout / "tests/clusters/test_one.started", checkout / "tests/other/test_other.started"]
    wait_until(lambda: all(path.exists() and path.read_text() for path in started), WAIT_S, "tests that hang")
    pids = [int(number) for path in started for number in path.read_text(encoding="utf-8").split()]
    assert all(map(exists, pids))
    return pids


def test_each_file_is_in_one_part() -> None:
    *clusters, rest = run_tests.parts()
    assert rest.arguments == ("tests", f"--ignore={run_tests.CLUSTERS}")
    named = [name for part in clusters for name in part.arguments]
    files = sorted((run_tests.ROOT / run_tests.CLUSTERS).glob("test_*.py"))
    assert sorted(named) == [path.relative_to(run_tests.ROOT).as_posix() for path in files]
    assert set(run_tests.SHARED_OUT) <= {path.name for path in files}


def test_every_test_runs_once_and_each_part_is_shown_in_a_piece(checkout: Path) -> None:
    write(checkout, PASSES, PASSES)
    code, out = run(checkout, "-v")
    assert code == 0, out
    assert out.count("PASSED") == 3
    for name, test in (("Slurm's own time", "clusters/test_slurm_scripts"), ("everything else", "other/test_other")):
        _, _, piece = out.partition(f"######## {name} ########")
        assert "1 passed" in piece.partition(f"{test}.py::test_passes PASSED")[2].partition("########")[0]
    closing = out.splitlines()[-1]
    assert closing.startswith("all tests: clusters passed in 0 min ")
    assert "; Slurm's own time passed in 0 min " in closing
    assert "; everything else passed in 0 min " in closing


@pytest.mark.parametrize(("one", "other"), [(FAILS, PASSES), (PASSES, FAILS)], ids=["clusters", "everything else"])
def test_a_failure_of_any_part_is_reported_and_fails_all(checkout: Path, one: str, other: str) -> None:
    write(checkout, one, other)
    code, out = run(checkout)
    assert code == 1, out
    assert "what it is not" in out
    closing = out.splitlines()[-1]
    failed, passed = ("clusters", "everything else") if one == FAILS else ("everything else", "clusters")
    assert f"{failed} FAILED with exit code 1 in" in closing
    assert f"{passed} passed in" in closing


def test_a_part_without_any_test_that_is_wanted_fails_nothing(checkout: Path) -> None:
    write(checkout, PASSES, PASSES)
    code, out = run(checkout, "-k", "test_other")
    assert (code, "clusters had no tests in" in out.splitlines()[-1]) == (0, True), out
    assert run(checkout, "-k", "nowhere")[0] == run_tests.NO_TESTS


@pytest.mark.parametrize("by_force", [False, True], ids=["at once", "by force"])
def test_ctrl_c_ends_all_parts_and_what_they_have_started(checkout: Path, *, by_force: bool) -> None:
    body = STUBBORN if by_force else HANGS
    write(checkout, body, body)
    with start(checkout) as process:
        pids = hanging(checkout)
        process.send_signal(signal.SIGINT)
        while by_force and process.poll() is None:
            process.send_signal(signal.SIGINT)  # of two that come too fast, one may be lost
            time.sleep(0.2)
        out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == run_tests.SIGNAL_BASE + signal.SIGINT, out
    wait_until(lambda: not any(map(exists, pids)), WAIT_S, "end of what was started")


def test_all_parts_end_when_nobody_reads_any_longer(checkout: Path) -> None:
    write(checkout, LOUD, HANGS)
    process = start(checkout, "-s")
    pids = hanging(checkout)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(WAIT_S) != 0
    wait_until(lambda: not any(map(exists, pids)), WAIT_S, "end of what was started")
