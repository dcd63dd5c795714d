from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nemo_runspec.artifacts.remote_folder import RemoteFolder
from nemo_runspec.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def write(path: str, content: bytes) -> None:
    MemoryFileSystem().pipe_file(path, content)


def test_an_unknown_scheme_says_what_would_do() -> None:
    with pytest.raises(ArtifactError, match="cannot open the artifact location 'nosuch://bucket'") as caught:
        RemoteFolder("nosuch://bucket")
    assert "fsspec driver" in (caught.value.remedy or "")


def test_sizes_and_folders() -> None:
    write("/bucket/a/file", b"123")
    write("/bucket/b/file", b"")
    write("/bucket/top", b"1")
    folder = RemoteFolder("memory://bucket")
    assert folder.size("a/file") == 3
    assert folder.size("a") is None
    assert folder.size("gone") is None
    assert folder.subfolders() == ["a", "b"]
    assert folder.subfolders("gone") == []


def test_files_below_a_folder_and_a_file_itself() -> None:
    write("/bucket/model/a/weights", b"123")
    write("/bucket/model/config.json", b"{}")
    write("/bucket/model-2/other", b"")
    assert RemoteFolder("memory://bucket/model").files() == {"a/weights": 3, "config.json": 2}
    assert RemoteFolder("memory://bucket/model/config.json").files() == {"config.json": 2}
    assert RemoteFolder("memory://bucket/gone").files() == {}


def test_reading_and_the_folder_above() -> None:
    write("/bucket/model/config.json", b"{}")
    folder = RemoteFolder("memory://bucket/model/config.json")
    with folder.open("") as file:
        assert file.read() == b"{}"
    with folder.parent.open("config.json") as file:
        assert file.read() == b"{}"


def test_a_file_is_created_once() -> None:
    folder = RemoteFolder("memory://bucket/store")
    folder.create("model/v1", "manifest.json", b"first")
    with pytest.raises(FileExistsError):
        folder.create("model/v1", "manifest.json", b"second")
    with folder.open("model/v1/manifest.json") as file:
        assert file.read() == b"first"


@pytest.mark.parametrize("method", ["info", "ls", "find", "pipe_file"])
def test_a_store_that_cannot_be_reached_is_an_error_and_never_an_empty_one(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "no credentials"
        raise PermissionError(message)

    monkeypatch.setattr(MemoryFileSystem, method, refuse)
    folder = RemoteFolder("memory://bucket/store")
    calls: dict[str, Callable[[], object]] = {
        "info": lambda: folder.size("model"),
        "ls": folder.subfolders,
        "find": folder.files,
        "pipe_file": lambda: folder.create("model/v1", "manifest.json", b""),
    }
    with pytest.raises(ArtifactError, match=r"memory:///bucket/store.*: no credentials"):
        calls[method]()
