from __future__ import annotations

from pathlib import Path

from nemo_runspec.artifacts.local_folder import LocalFolder


def test_paths_below_and_above(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    assert folder.child("a/b") == f"{tmp_path}/a/b"
    assert folder.child("") == str(tmp_path)
    assert LocalFolder(tmp_path / "a").parent.url == str(tmp_path)
    assert LocalFolder(Path("/")).child("a") == "/a"
