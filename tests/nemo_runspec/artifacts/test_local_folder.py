from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.artifacts.local_folder import LocalFolder, replace_file
from nemo_runspec.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_sizes_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "file").write_bytes(b"123")
    folder = LocalFolder(tmp_path)
    assert folder.size("file") == 3
    assert folder.size("a") is None
    assert folder.size("file/below") is None
    assert LocalFolder(tmp_path / "file").size("") == 3
    assert folder.subfolders() == ["a", "b"]
    assert folder.subfolders("gone") == []
    assert folder.subfolders("file") == []


def test_files_are_found_through_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "blob").write_bytes(b"12345")
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "file").write_bytes(b"1")
    (root / ".hidden").write_bytes(b"")
    (root / "linked.bin").symlink_to(elsewhere / "blob")
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert LocalFolder(root).files() == {".hidden": 0, "deep/er/file": 1, "linked.bin": 5, "linked/blob": 5}


def test_one_file_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "only.json").write_bytes(b"{}")
    assert LocalFolder(tmp_path / "only.json").files() == {"only.json": 2}


def test_nothing_is_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="gone is neither a file nor a folder"):
        LocalFolder(tmp_path).files()


def test_a_pipe_is_no_part_of_an_artifact(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="pipe is neither a file nor a folder"):
        LocalFolder(tmp_path).files()


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ArtifactError, match="up is a link to a folder above it"):
        LocalFolder(tmp_path).files()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no file or folder"):
        LocalFolder(tmp_path / "gone").files()


def test_a_file_is_created_once(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "store")
    folder.create("model/v1", "manifest.json", b"first")
    with pytest.raises(FileExistsError):
        folder.create("model/v1", "manifest.json", b"second")
    assert (tmp_path / "store/model/v1/manifest.json").read_bytes() == b"first"
    assert names(tmp_path / "store/model") == ["v1"]


def test_others_may_read_what_was_created(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        LocalFolder(tmp_path).create("model/v1", "manifest.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "model/v1").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "model/v1/manifest.json").stat().st_mode & 0o777 == 0o644


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot write to .*/model/v1: No space left on device"):
        LocalFolder(tmp_path).create("model/v1", "manifest.json", b"{}")
    assert names(tmp_path / "model") == []


def test_a_file_in_the_way_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(ArtifactError, match=r"cannot write to .*/store/model/v1"):
        LocalFolder(tmp_path / "store").create("model/v1", "manifest.json", b"{}")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "result.json"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ArtifactError, match=r"cannot write .*result\.json"):
        replace_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["result.json"]
