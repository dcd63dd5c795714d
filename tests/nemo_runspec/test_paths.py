from __future__ import annotations

import os
from pathlib import Path

import pytest

from nemo_runspec.errors import ConfigError, ProfileError
from nemo_runspec.paths import PathKind, absolute, kind_of


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/people/me")
    assert absolute("a/b", error=ConfigError) == tmp_path / "a" / "b"
    assert absolute("~/a", error=ConfigError) == Path("/people/me/a")
    assert absolute(Path("/a"), error=ConfigError) == Path("/a")


def test_an_unknown_user_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'~no-such-user/x' begins with the home of a user"):
        absolute("~no-such-user/x", error=ConfigError)
    assert absolute(tmp_path, error=ConfigError) == tmp_path


def test_a_path_that_no_system_takes_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'/a\\x00b' holds a NUL character"):
        absolute("/a\0b", error=ConfigError)


def test_a_working_directory_that_went_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ProfileError, match="'x' is relative to the working directory, which cannot be used"):
        absolute("x", error=ProfileError)


def test_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    kinds = {
        name: kind_of(tmp_path / name, error=ConfigError) for name in ("file", "pipe", "link", "none", "file/x", "")
    }
    assert kinds == {
        "file": PathKind.FILE,
        "pipe": PathKind.OTHER,
        "link": PathKind.FILE,
        "none": PathKind.NOTHING,
        "file/x": PathKind.NOTHING,
        "": PathKind.FOLDER,
    }


@pytest.mark.parametrize(("name", "reason"), [("x" * 300, "File name too long"), ("a\0b", "null")])
def test_a_name_that_cannot_be_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot look at .*{reason}"):
        kind_of(tmp_path / name, error=ConfigError)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match=r"cannot look at .*loop"):
        kind_of(tmp_path / "loop", error=ConfigError)
