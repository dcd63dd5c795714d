from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import modified_files, select
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *settings, *arguments], check=True, capture_output=True)  # noqa: S607 - git of PATH


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = pods.repository(tmp_path / "around" / "repository")
    pods.write(root, {".gitignore": "*.ignored\n"})
    git(root.parent, "init", "-q")
    git(root.parent, "add", "-A")
    git(root.parent, "commit", "-qm", "all")
    return root


def test_nothing_is_modified_after_a_commit(root: Path) -> None:
    assert modified_files(root) == ()


def test_modified_deleted_and_untracked_files_are_listed_from_the_root(root: Path) -> None:
    new = "src/nemotron/new folder/ü.py"
    pods.write(root, {"src/nemotron/model.py": "changed", new: "", "src/x.ignored": "", "README.md": "changed"})
    (root / "src/nemotron/recipes/shared.yaml").unlink()
    pods.write(root.parent, {"outside.py": ""})
    assert modified_files(root) == ("src/nemotron/model.py", new, "src/nemotron/recipes/shared.yaml")


def test_only_what_travels_is_listed(root: Path) -> None:
    pods.write(root, {"src/nemotron/data.bin": "", "src/nemotron/recipes/super3/sft/train.py": "changed", "run.py": ""})
    (root / "src/nemotron/model.py").unlink()
    pods.write(root, {"src/nemotron/__init__.py": "changed"})
    files = select(root / pods.SCRIPT).files
    assert modified_files(root, files) == ("src/nemotron/__init__.py", "src/nemotron/model.py")
    assert modified_files(root, select(root / "run.py").files)[0] == "run.py"


def test_without_a_repository_or_git_there_is_nothing_to_tell(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.write(root, {"src/nemotron/model.py": "changed"})
    assert modified_files(pods.repository(tmp_path / "plain")) == ()
    monkeypatch.setenv("PATH", "")
    assert modified_files(root) == ()
