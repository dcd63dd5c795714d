"""Scripts and folders on this machine, in the way of another one."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.shell.transfer import LOCK

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str) -> Path:
    script = folder / "script.sh"
    script.write_text(text, encoding="utf-8")
    return script


def files(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_script_gets_its_arguments_and_input_and_gives_its_code(tmp_path: Path) -> None:
    lines: list[str] = []
    script = written(tmp_path, 'printf "%s|" "$@"; cat; echo told >&2; exit 7\n')
    answer = LocalShell().bash(script, "a b", "$x", stdin=b"\xff", on_error_line=lines.append)
    assert (answer.code, answer.out, answer.err, lines) == (7, b"a b|$x|\xff", "told\n", ["told"])
    assert answer.text == "a b|$x|\ufffd"


def test_a_script_sees_a_logins_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/x")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    seen = LocalShell().bash(written(tmp_path, "env\n")).text
    assert "SLURM_CONF=/etc/x" in seen
    assert "SSH_AUTH_SOCK=/run/agent" in seen  # git clones with it
    assert "secret" not in seen
    assert "SLURM_JOB_ID" not in seen


def test_a_script_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="did not answer script within"):
        LocalShell().bash(written(tmp_path, "sleep 60\n"), timeout_s=0.3)


def test_a_folder_is_made_equal(tmp_path: Path) -> None:
    source, target = tmp_path / "a: b", tmp_path / "t'x"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run").write_bytes(os.urandom(100_000))
    (source / "sub" / "run").chmod(0o700)
    (source / "odd\nname").write_bytes(b"x")
    shell = LocalShell()
    first = shell.send_tree(source, str(target))
    assert files(target) == files(source)
    (target / "extra").touch()
    (target / "odd\nname").write_bytes(b"y")
    assert shell.send_tree(source, str(target)) < first / 10
    assert files(target) == files(source)


def test_what_another_folder_has_is_linked(tmp_path: Path) -> None:
    source, basis, target = tmp_path / "source", tmp_path / "basis", tmp_path / "target"
    source.mkdir()
    (source / "same").write_bytes(os.urandom(100_000))
    LocalShell().send_tree(source, str(basis))
    assert LocalShell().send_tree(source, str(target), basis=str(basis)) < 10_000
    assert (target / "same").samefile(basis / "same")


def test_a_folder_that_another_transfer_holds_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemo_runspec.platforms.shell.local.LOCK_WAIT_S", 0)
    (tmp_path / "source").mkdir()
    with (tmp_path / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UnreachableError, match="another transfer"):
            LocalShell().send_tree(tmp_path / "source", str(tmp_path / "target"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="file"):
        LocalShell().send_tree(tmp_path, str(tmp_path / "file" / "below"))
