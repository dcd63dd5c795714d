from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from nemo_runspec.provenance import collect, git_state
from nemo_runspec.versions import package_versions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_the_state_of_a_repository_is_told(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.py").write_text("1", encoding="utf-8")
    assert git_state(tmp_path) is None
    _git(tmp_path, "add", "a.py")
    _git(tmp_path, "commit", "-q", "-m", "first")
    clean = git_state(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["branch"], clean["dirty"]) == (40, "trunk", [])
    (tmp_path / "a.py").write_text("2", encoding="utf-8")
    (tmp_path / "new.py").write_text("3", encoding="utf-8")
    dirty = git_state(tmp_path)
    assert dirty is not None
    assert dirty["dirty"] == ["a.py", "new.py"]


def test_changed_files_have_their_exact_names(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "-b", "trunk")
    names = ["b.py", "c d.py", 'e "f".py', "g\u00e4.py", "new -> name.py"]
    (tmp_path / "a.py").write_text("long enough to be known again\n" * 9, encoding="utf-8")
    _git(tmp_path, "add", "a.py")
    _git(tmp_path, "commit", "-q", "-m", "first")
    _git(tmp_path, "mv", "a.py", "b.py")
    for name in names[1:]:
        (tmp_path / name).write_text("x", encoding="utf-8")
    state = git_state(tmp_path)
    assert state is not None
    assert state["dirty"] == names


def test_where_git_cannot_tell_what_changed_nothing_is_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-q", "-b", "trunk")
    _git(tmp_path, "commit", "-q", "-m", "first", "--allow-empty")
    run = subprocess.run

    def without_status(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - subprocess's own options
        if "status" in command:
            raise subprocess.TimeoutExpired(command, 1)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", without_status)
    state = git_state(tmp_path)
    assert state is not None
    assert (state["branch"], state["dirty"]) == ("trunk", None)


def test_without_git_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_the_record_tells_what_a_job_was_made_from(tmp_path: Path) -> None:
    record = collect(tmp_path, argv=("nemotron", "x"), overrides=("a=1",), profile={"name": "local"})
    assert (record["argv"], record["dotlist"], record["profile"]) == (["nemotron", "x"], ["a=1"], {"name": "local"})
    assert record["packages"] == package_versions()
    assert record["packages"]["nemo_run"]
    assert record["created_at"].endswith("+00:00")
