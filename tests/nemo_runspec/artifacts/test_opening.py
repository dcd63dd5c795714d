from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.artifacts.local_folder import LocalFolder
from nemo_runspec.artifacts.opening import open_folder
from nemo_runspec.artifacts.remote_folder import RemoteFolder
from nemo_runspec.errors import ArtifactError


@pytest.mark.parametrize("prefix", ["", "file://", "local://"])
def test_a_path_is_local_whatever_its_scheme(tmp_path: Path, prefix: str) -> None:
    folder = open_folder(f"{prefix}{tmp_path}")
    assert isinstance(folder, LocalFolder)
    assert folder.url == str(tmp_path)


def test_a_relative_path_and_a_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home-of-the-user")
    assert open_folder(Path("output")).url == str(tmp_path / "output")
    assert open_folder("~/output").url == "/home-of-the-user/output"


def test_a_url_goes_to_its_driver() -> None:
    folder = open_folder("memory://bucket/store/")
    assert isinstance(folder, RemoteFolder)
    assert folder.url == "memory:///bucket/store"


def test_the_home_of_nobody_is_told() -> None:
    with pytest.raises(ArtifactError, match="'~no-such-user/store' begins with the home"):
        open_folder("~no-such-user/store")
