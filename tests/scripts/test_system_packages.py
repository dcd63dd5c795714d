from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "system_packages.sh"
EVERYTHING = ("git", "make", "bwrap", "nsenter", "python3")


def _program(folder: Path, name: str, text: str = "exit 0") -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


def test_a_machine_that_has_everything_is_left_alone(tmp_path: Path) -> None:
    for name in EVERYTHING:
        _program(tmp_path, name)
    _program(tmp_path, "apt-get", "echo called; exit 1")
    done = _run(tmp_path, "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--strict",), 1)])
def test_what_cannot_be_installed_is_named(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    for name in EVERYTHING[:2]:
        _program(tmp_path, name)
    done = _run(tmp_path, *arguments)
    assert done.returncode == code
    assert "bubblewrap util-linux python3 python3-venv" in done.stderr


def test_what_is_missing_is_installed(tmp_path: Path) -> None:
    for name in EVERYTHING:
        if name != "bwrap":
            _program(tmp_path, name)
    for name in ("true", "apt-get"):
        _program(tmp_path, name, f'echo {name} "$@"')
    _program(tmp_path, "sudo", 'shift; exec "$@"')  # for who is not root
    done = _run(tmp_path, "--strict")
    assert done.returncode == 0
    assert "apt-get install -q -y --no-install-recommends bubblewrap" in done.stdout
