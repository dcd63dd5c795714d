from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "system_packages.sh"
EVERYTHING = (
    *("git", "make", "bwrap", "nsenter", "python3"),
    *("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd", "mksquashfs", "ip", "iptables"),
    *("sshd", "ssh", "rsync", "gcc", "dockerd", "debootstrap", "busybox"),
)


def _program(folder: Path, name: str, text: str = "exit 0") -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(SCRIPT), *arguments]
    environment = {"PATH": str(folder), "POLICY_RC_D": str(folder / "policy")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _all_but(folder: Path, *missing: str) -> None:
    for name in {*EVERYTHING} - {*missing}:
        _program(folder, name)
    for name in ("true", "apt-get"):
        _program(folder, name, f'echo {name} "$@"')
    _program(folder, "sudo", 'shift; exec "$@"')  # for who is not root


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
    _all_but(tmp_path, "bwrap")
    done = _run(tmp_path, "--strict")
    assert done.returncode == 0
    assert "apt-get install -q -y --no-install-recommends bubblewrap\n" in done.stdout


@pytest.mark.parametrize("refused_before", [False, True])
def test_no_daemon_starts_now_or_later(tmp_path: Path, *, refused_before: bool) -> None:
    # A name that no machine has a program of: the script also looks where the administrator's programs are.
    script = SCRIPT.read_text(encoding="utf-8").replace("need munged ", "need munged-of-no-machine ")
    changed = tmp_path / "script.sh"
    changed.write_text(script, encoding="utf-8")
    _all_but(tmp_path, "apt-get")
    policy = tmp_path / "policy"
    if refused_before:
        policy.write_text("mine", encoding="utf-8")
    for name in ("install", "rm", "cat"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    _program(tmp_path, "systemctl", 'echo systemctl "$@"')
    _program(tmp_path, "apt-get", f'echo "$@"; [ "$1" = update ] || cat {policy}')
    environment = {"PATH": str(tmp_path), "POLICY_RC_D": str(policy)}
    command = ["/bin/bash", str(changed), "--strict"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "install -q -y --no-install-recommends munge\n" in done.stdout
    assert ("mine" if refused_before else "exit 101") in done.stdout
    assert "systemctl disable --quiet munge.service" in done.stdout
    assert policy.exists() == refused_before


@pytest.mark.parametrize("name", ["mariadb-server-core", "mariadb-server-core-10.6"])
def test_the_databases_package_has_the_name_of_the_release(tmp_path: Path, name: str) -> None:
    script = SCRIPT.read_text(encoding="utf-8").replace("need mariadbd ", "need mariadbd-of-no-machine ")
    changed = tmp_path / "script.sh"
    changed.write_text(script, encoding="utf-8")
    _all_but(tmp_path)
    for program in ("sort", "head"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    _program(tmp_path, "apt-cache", f"echo '{name} - MariaDB database core server files'")
    done = subprocess.run(
        ["/bin/bash", str(changed)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"install -q -y --no-install-recommends {name}\n" in done.stdout
