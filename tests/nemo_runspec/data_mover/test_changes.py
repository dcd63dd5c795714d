from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import Changes, Selection, SourceFile, modified_files, select
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *settings, *arguments], check=True, capture_output=True)  # noqa: S607 - git of PATH


def committed(folder: Path) -> Path:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return folder


def changes(root: Path, script: Path | None = None) -> Changes:
    return modified_files(select(script or root / pods.SCRIPT, root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = pods.repository(tmp_path / "around" / "repository")
    pods.write(root, {".gitignore": "*.ignored\n"})
    return committed(root.parent) / root.name


def test_nothing_is_modified_after_a_commit(root: Path) -> None:
    assert changes(root) == Changes()


def test_what_is_modified_deleted_or_not_tracked_is_named_as_it_travels(root: Path) -> None:
    new = "src/nemotron/new folder/ü\n.py"
    pods.write(root, {"src/nemotron/model.py": "changed", new: "", "src/nemotron/x.ignored": "", "README.md": "new"})
    (root / "src/nemotron/recipes/shared.yaml").unlink()
    pods.write(root.parent, {"outside.py": ""})
    names = ("src/nemotron/model.py", new, "src/nemotron/recipes/shared.yaml", "src/nemotron/x.ignored")
    assert changes(root) == Changes(names)


def test_what_is_staged_or_only_made_executable_is_not_committed(root: Path) -> None:
    pods.write(root, {"src/nemotron/model.py": "changed", "src/nemotron/new.py": ""})
    git(root, "add", "-A")
    (root / pods.SCRIPT).chmod(0o755)
    assert changes(root) == Changes(("src/nemotron/model.py", "src/nemotron/new.py", pods.SCRIPT))


def test_a_file_that_git_is_told_to_take_for_unchanged_is_named(root: Path) -> None:
    git(root, "update-index", "--assume-unchanged", "src/nemotron/model.py")
    git(root, "update-index", "--skip-worktree", "src/nemotron/__init__.py")
    pods.write(root, {"src/nemotron/model.py": "changed", "src/nemotron/__init__.py": "changed"})
    assert changes(root) == Changes(("src/nemotron/__init__.py", "src/nemotron/model.py"))


def test_only_what_travels_is_listed(root: Path) -> None:
    pods.write(root, {"src/nemotron/data.bin": "", "src/nemotron/recipes/super3/sft/train.py": "changed", "run.py": ""})
    pods.write(root, {"src/nemotron/old.bin": "", "src/nemotron/gone/deep/x.py": "", "tests/x.py": ""})
    git(root, "add", "-f", "src/nemotron", "tests")
    git(root, "commit", "-qm", "more")
    for name in ("src/nemotron/old.bin", "src/nemotron/gone/deep/x.py", "tests/x.py"):
        (root / name).unlink()
    for name in ("src/nemotron/gone/deep", "src/nemotron/gone", "tests"):
        (root / name).rmdir()
    assert changes(root) == Changes(("src/nemotron/gone/deep/x.py",))
    assert changes(root, root / "run.py") == Changes(("run.py", "src/nemotron/gone/deep/x.py"))
    assert modified_files(select(root / "run.py", root, exclude=("src/nemotron/gone",))) == Changes(("run.py",))


def test_a_link_has_to_be_committed_like_what_it_leads_to(root: Path) -> None:
    folder = root / "src/nemotron"
    (folder / "link.py").symlink_to("model.py")
    (folder / "linked").symlink_to("recipes/nano3")
    assert "src/nemotron/link.py" in changes(root).modified
    assert "src/nemotron/linked/sft/train.py" in changes(root).modified
    git(root, "add", "-A")
    git(root, "commit", "-qm", "links")
    assert changes(root) == Changes()
    (folder / "link.py").unlink()
    (folder / "link.py").symlink_to("__init__.py")
    assert changes(root) == Changes(("src/nemotron/link.py",))


def test_each_file_is_looked_for_in_its_own_repository(root: Path, tmp_path: Path) -> None:
    script = pods.write(tmp_path / "other", {"job/train.py": "", "job/helper.py": ""}) / "job" / "train.py"
    committed(tmp_path / "other")
    assert changes(root, script) == Changes()
    pods.write(script.parent, {"train.py": "changed"})
    assert changes(root, script) == Changes(("script/train.py",))
    inner = committed(pods.write(root / "src" / "vendored", {"code.py": "", "more.py": ""}))
    pods.write(inner, {"more.py": "changed"})
    assert changes(root) == Changes(("src/vendored/more.py",))


def test_a_file_in_no_repository_is_not_known_to_be_committed(root: Path, tmp_path: Path) -> None:
    script = pods.write(tmp_path / "other", {"train.py": "", "helper.py": ""}) / "train.py"
    pods.write(root, {"src/nemotron/model.py": "changed"})
    told = changes(root, script)
    assert told.modified == ("src/nemotron/model.py",)
    assert told.unknown == f"{script} and 1 more are in no git repository"
    assert "in no git repository" in str(changes(pods.repository(tmp_path / "plain")).unknown)


def test_installed_packages_are_a_release(root: Path, tmp_path: Path) -> None:
    outside = pods.write(tmp_path / "image", {"nemotron/a.py": ""}) / "nemotron" / "a.py"
    installed = pods.write(root / "env" / "site-packages", {"nemotron/b.py": ""}) / "nemotron" / "b.py"
    files = (SourceFile("src/nemotron/a.py", outside), SourceFile("src/nemotron/b.py", installed))
    assert modified_files(Selection(files)) == Changes()
    assert modified_files(Selection(files, root=tmp_path / "image")).unknown == f"{outside} is in no git repository"
    edited = (SourceFile("src/nemotron/model.py", root / "src/nemotron/model.py"),)
    pods.write(root, {"src/nemotron/model.py": "changed"})
    assert modified_files(Selection(edited)) == Changes(("src/nemotron/model.py",)), "an editable checkout is none"


def test_a_git_that_cannot_tell_is_not_taken_for_no_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert changes(root) == Changes((), f"{root.parent}: git is not installed")
    (root.parent / ".git" / "index").write_bytes(b"damaged")
    told = changes(root)
    assert told.modified == ()
    assert str(told.unknown).startswith(f"{root.parent}: git ls-files: ")


def test_a_hooks_variables_do_not_lead_to_its_repository(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = committed(pods.write(tmp_path / "other", {"a.py": ""}))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert changes(root) == Changes()
