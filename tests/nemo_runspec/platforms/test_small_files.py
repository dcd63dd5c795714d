from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.platforms.small_files import read_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_given_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"\xff{}")
    assert read_file(tmp_path / "result.json") == b"\xff{}"


def test_what_is_no_small_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    for name in ("large", "missing", "."):
        assert read_file(tmp_path / name) is None
