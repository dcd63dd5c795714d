from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nemo_runspec.artifacts import FileEntry, files, list_files, missing_files
from nemo_runspec.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path


def entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())


def test_every_file_is_listed_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-1").write_bytes(b"state")
    (tmp_path / "weights").write_bytes(b"123")
    assert list_files(str(tmp_path)) == (entry("checkpoints/step-1", b"state"), entry("weights", b"123"))


def test_a_file_is_an_artifact_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"{}")
    assert list_files(str(path)) == (entry("report.json", b"{}"),)
    assert missing_files(str(path), list_files(str(path))) == []


def test_large_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_READ_BYTES", 7)
    content = bytes(range(256))
    (tmp_path / "weights").write_bytes(content)
    assert list_files(str(tmp_path)) == (entry("weights", content),)


def test_what_is_left_out_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"{}")
    (tmp_path / "weights").write_bytes(b"123")
    assert list_files(str(tmp_path), leave_out=("manifest.json",)) == (entry("weights", b"123"),)


def test_an_empty_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="there are no files in"):
        list_files(str(tmp_path))
    with pytest.raises(ArtifactError, match="there is no file or folder"):
        list_files(str(tmp_path / "gone"))


def test_files_that_went_or_changed_size(tmp_path: Path) -> None:
    for name in ("kept", "gone", "grown"):
        (tmp_path / name).write_bytes(b"123")
    listed = list_files(str(tmp_path))
    (tmp_path / "gone").unlink()
    (tmp_path / "grown").write_bytes(b"1234")
    assert missing_files(str(tmp_path), listed) == ["gone", "grown"]


def test_everything_is_missing_where_the_folder_went(tmp_path: Path) -> None:
    assert missing_files(str(tmp_path / "gone"), [entry("weights", b"1")]) == ["weights"]


def test_files_behind_a_url() -> None:
    MemoryFileSystem().pipe_file("/files-test/model/weights", b"123")
    try:
        assert list_files("memory://files-test/model") == (entry("weights", b"123"),)
        assert list_files("memory://files-test/model/weights") == (entry("weights", b"123"),)
        assert missing_files("memory://files-test/model", [entry("weights", b"123"), entry("x", b"")]) == ["x"]
    finally:
        MemoryFileSystem().rm("/files-test", recursive=True)
