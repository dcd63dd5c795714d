from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from nemo_runspec.executors.source import Source, with_source

if TYPE_CHECKING:
    from pathlib import Path


def checkout(folder: Path) -> Path:
    package = folder / "src" / "nemo_runspec"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "notes.md").write_text("text", encoding="utf-8")
    return folder


def names(tar: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {member.name for member in archive if member.isfile()}


def test_the_same_files_are_the_same_tree(tmp_path: Path) -> None:
    first = Source(repo_root=checkout(tmp_path / "one")).tree()
    second = Source(repo_root=checkout(tmp_path / "two")).tree()
    assert first == second
    assert "src/nemo_runspec/__init__.py" in names(first.tar)
    (tmp_path / "two" / "src" / "nemo_runspec" / "__init__.py").write_text("1\n", encoding="utf-8")
    assert Source(repo_root=tmp_path / "two").tree().sha256 != first.sha256


def test_what_is_excluded_stays_here(tmp_path: Path) -> None:
    root = checkout(tmp_path / "one")
    assert "src/nemo_runspec/notes.md" in names(Source(repo_root=root).tree().tar)
    assert "src/nemo_runspec/notes.md" not in names(Source(repo_root=root, exclude=("*.md",)).tree().tar)


def test_without_a_checkout_the_installed_package_travels() -> None:
    assert "src/nemo_runspec/executors/source.py" in names(Source().tree().tar)


def test_python_finds_the_source_first() -> None:
    env = {"A": "1"}
    assert with_source(env, "/nemo_run") == {"A": "1", "PYTHONPATH": "/nemo_run/code/src"}
    assert env == {"A": "1"}
    assert with_source({"PYTHONPATH": "/a:/b"}, "/j")["PYTHONPATH"] == "/j/code/src:/a:/b"
    assert with_source({"PYTHONPATH": ""}, "/j")["PYTHONPATH"] == "/j/code/src"
