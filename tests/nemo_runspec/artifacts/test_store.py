from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nemo_runspec.artifacts import ArtifactStore, store
from nemo_runspec.artifacts.local_folder import LocalFolder
from nemo_runspec.errors import ArtifactError, ArtifactNotFoundError
from tests.nemo_runspec.artifacts.making import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give a fresh place for a store, on disk and behind an fsspec driver."""
    if request.param == "local":
        yield str(tmp_path / "sto[r]e")
    else:
        yield "memory://store-test/artifacts"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


def test_a_store_that_does_not_exist_is_empty(root: str) -> None:
    empty = ArtifactStore(root)
    assert empty.names() == []
    assert empty.versions("tiny-model") == []


def test_versions_count_up_and_the_highest_is_the_latest(root: str) -> None:
    filled = ArtifactStore(root)
    for number in range(1, 12):
        registered = filled.publish(manifest(path=f"/results/{number}"))
        assert registered.version == number
    assert filled.versions("tiny-model") == list(range(1, 12))
    assert filled.get("tiny-model") == filled.get("tiny-model:latest") == filled.get("tiny-model:v11")
    assert filled.get("tiny-model").path == "/results/11"
    assert filled.get("tiny-model:v2").path == "/results/2"


def test_what_is_read_is_what_was_published(root: str) -> None:
    registered = ArtifactStore(root).publish(manifest())
    assert registered.reference == "tiny-model:v1"
    assert ArtifactStore(root).get("tiny-model") == registered


def test_the_same_content_keeps_its_version(root: str) -> None:
    filled = ArtifactStore(root)
    first = filled.publish(manifest(result={"last": 4.0}))
    assert filled.publish(manifest(result={"last": 5.0})) == first
    assert filled.versions("tiny-model") == [1]


def test_earlier_content_becomes_the_latest_again(root: str) -> None:
    filled = ArtifactStore(root)
    first = filled.publish(manifest(path="/one"))
    filled.publish(manifest(path="/two"))
    assert filled.publish(first).reference == "tiny-model:v3"
    assert filled.get("tiny-model").path == "/one"


def test_names_are_sorted_and_need_a_version(root: str) -> None:
    filled = ArtifactStore(root)
    filled.publish(manifest("b"))
    filled.publish(manifest("a"))
    assert filled.names() == ["a", "b"]


def test_a_missing_artifact_gets_the_nearest_name_and_the_place(root: str) -> None:
    filled = ArtifactStore(root)
    filled.publish(manifest("nano3-tiny-model"))
    with pytest.raises(ArtifactNotFoundError) as caught:
        filled.get("nano3-tiny-modle:latest")
    assert caught.value.message == f"there is no artifact 'nano3-tiny-modle' in {filled.url}"
    assert caught.value.remedy == "Did you mean 'nano3-tiny-model'?"


def test_a_missing_artifact_in_an_empty_store(root: str) -> None:
    with pytest.raises(ArtifactNotFoundError) as caught:
        ArtifactStore(root).get("model")
    assert caught.value.remedy == "There are no artifacts."


def test_a_missing_version_lists_those_there_are(root: str) -> None:
    filled = ArtifactStore(root)
    for number in range(12):
        filled.publish(manifest(path=f"/{number}"))
    with pytest.raises(ArtifactNotFoundError, match="has no version v99") as caught:
        filled.get("tiny-model:v99")
    assert caught.value.remedy == "Its latest versions: v3, v4, v5, v6, v7, v8, v9, v10, v11, v12."
    filled.publish(manifest("other"))
    with pytest.raises(ArtifactNotFoundError) as caught:
        filled.get("other:v2")
    assert caught.value.remedy == "Its versions: v1."


def test_a_reference_is_checked_before_the_store_is_asked(root: str) -> None:
    with pytest.raises(ArtifactError, match="cannot name an artifact"):
        ArtifactStore(root).get("../model")
    with pytest.raises(ArtifactError, match="neither 'latest' nor"):
        ArtifactStore(root).get("model:3")


def test_versions_without_a_manifest_do_not_count(tmp_path: Path) -> None:
    filled = ArtifactStore(tmp_path)
    filled.publish(manifest())
    (tmp_path / "tiny-model" / "v2").mkdir()
    (tmp_path / "tiny-model" / ".new-1").mkdir()
    (tmp_path / "tiny-model" / "notes").mkdir()
    (tmp_path / "not an artifact").mkdir()
    assert filled.versions("tiny-model") == [1]
    assert filled.get("tiny-model").version == 1
    assert filled.names() == ["tiny-model"]
    assert filled.publish(manifest(path="/new")).version == 3


def test_a_damaged_manifest_is_named_and_in_nobodys_way(tmp_path: Path) -> None:
    filled = ArtifactStore(tmp_path)
    filled.publish(manifest())
    damaged = tmp_path / "tiny-model" / "v1" / "manifest.json"
    damaged.write_text("{")
    with pytest.raises(ArtifactError, match=str(damaged)):
        filled.get("tiny-model")
    assert filled.publish(manifest()).version == 2
    assert filled.get("tiny-model").version == 2


def test_a_manifest_from_elsewhere_is_refused(tmp_path: Path) -> None:
    filled = ArtifactStore(tmp_path)
    filled.publish(manifest())
    document = json.loads((tmp_path / "tiny-model/v1/manifest.json").read_text())
    (tmp_path / "copied" / "v1").mkdir(parents=True)
    (tmp_path / "copied" / "v1" / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"copied/v1/manifest\.json says that it is tiny-model:v1"):
        filled.get("copied")


def test_a_store_that_says_taken_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise FileExistsError

    monkeypatch.setattr(LocalFolder, "create", taken)
    monkeypatch.setattr(store, "_ATTEMPTS", 5)
    with pytest.raises(ArtifactError, match=r"got no version in .*: v1 and the 4 after it are taken"):
        ArtifactStore(tmp_path).publish(manifest())


def publish_many(root: str, writer: int, count: int) -> list[int]:
    return [ArtifactStore(root).publish(manifest(path=f"/writer-{writer}/{number}")).version for number in range(count)]


def test_racing_processes_get_versions_of_their_own(tmp_path: Path) -> None:
    writers, each = 4, 15
    with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(publish_many, str(tmp_path), writer, each) for writer in range(writers)]
        versions = [future.result() for future in futures]
    assert sorted(version for mine in versions for version in mine) == list(range(1, writers * each + 1))
    filled = ArtifactStore(tmp_path)
    for writer, mine in enumerate(versions):
        assert [filled.get(f"tiny-model:v{version}").path for version in mine] == [
            f"/writer-{writer}/{number}" for number in range(each)
        ]
    assert sorted(entry.name for entry in (tmp_path / "tiny-model").iterdir() if entry.name.startswith(".")) == []


def test_importing_artifacts_is_light() -> None:
    code = (
        "import sys, nemo_runspec.artifacts, nemo_runspec.stage;"
        "heavy = {'torch', 'pandas', 'numpy', 'nemo_run', 'omegaconf', 'fsspec', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
