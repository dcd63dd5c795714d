from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.shards import Address, Busy, FileRecord, Made, Receipt, ShardStore, Written, make_shard
from nemotron.data_prep.shards.lease import take_lease
from tests.nemotron.data_prep.shards.works import Task, make, write

ADDRESS = Address("test", ("input",), {})


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore(tmp_path / "shards")


def publish(store: ShardStore, content: str = "content") -> Receipt:
    with store.claim(ADDRESS) as building:
        assert building is not None
        path = building.folder / "file"
        path.write_text(content)
        return building.publish({"file": FileRecord.of(path)}, {"tokens": 3})


def names(store: ShardStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir() if path.name != ".leases")


def test_a_shard_is_there_complete_or_not_at_all(store: ShardStore) -> None:
    assert store.find(ADDRESS.key) is None
    with store.claim(ADDRESS) as building:
        assert building is not None
        (building.folder / "file").write_text("half")
        assert store.find(ADDRESS.key) is None
    assert names(store) == []
    receipt = publish(store)
    assert store.find(ADDRESS.key) == receipt
    assert names(store) == [ADDRESS.key]


def test_a_failed_writer_leaves_nothing(store: ShardStore) -> None:
    def fail(folder: Path) -> Written:
        (folder / "file").write_text("half")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(DataError, match="shards: the shards cannot be written: Input/output error"):
        make_shard(store, ADDRESS, fail)
    assert names(store) == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "Make room"), (errno.EDQUOT, "Make room"), (errno.EROFS, "Permit"), (errno.EACCES, "Permit")],
)
def test_a_folder_that_takes_no_shard(
    store: ShardStore, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(path), None, str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match=remedy) as raised:
        make_shard(store, ADDRESS, lambda _: Written({}, {}))
    assert str(raised.value.where) == str(store.root)
    assert os.strerror(code) in raised.value.message
    assert names(store) == []


def test_a_file_that_has_the_name_of_a_shard_gives_way(store: ShardStore) -> None:
    store.root.mkdir()
    store.folder(ADDRESS.key).write_text("not a folder")
    receipt = publish(store)
    assert store.find(ADDRESS.key) == receipt
    assert names(store) == [ADDRESS.key]


def test_one_writer_at_a_time(store: ShardStore) -> None:
    with store.claim(ADDRESS) as first, store.claim(ADDRESS) as second:
        assert first is not None
        assert second is None


@pytest.mark.parametrize("damage", ["cut", "changed", "file gone", "receipt gone", "receipt cut", "of another"])
def test_a_damaged_shard_is_not_found_and_made_again(store: ShardStore, damage: str) -> None:
    receipt = publish(store)
    folder = store.folder(ADDRESS.key)
    file, note = folder / "file", folder / "receipt.json"
    match damage:
        case "cut":
            file.write_text("cont")
        case "changed":
            file.write_text("Content")
        case "file gone":
            file.unlink()
        case "receipt gone":
            note.unlink()
        case "receipt cut":
            note.write_text(note.read_text()[:20])
        case _:
            note.write_text(note.read_text().replace(ADDRESS.key, "0" * 32))
    assert store.find(ADDRESS.key) is None
    assert publish(store) == receipt
    assert store.find(ADDRESS.key) == receipt
    assert names(store) == [ADDRESS.key]


def test_who_publishes_second_takes_the_first_one_s(store: ShardStore) -> None:
    with store.claim(ADDRESS) as building:
        assert building is not None
        path = building.folder / "file"
        path.write_text("content")
        # As if another process had published meanwhile.
        building.folder.rename(store.root / "kept")
        (store.root / f"{ADDRESS.key}.lease").unlink()
        first = publish(store)
        (store.root / "kept").rename(building.folder)
        second = building.publish({"file": FileRecord.of(path)}, {"tokens": 3})
    assert first == second
    assert names(store) == [ADDRESS.key]


def test_who_slept_too_long_finds_the_shard_made_by_another(tmp_path: Path) -> None:
    task = Task(str(tmp_path / "shards"), "a")
    store = ShardStore(Path(task.store))

    def sleep(folder: Path) -> Written:
        (store.root / f"{task.address.key}.lease").unlink()
        make(task)
        return write(task, folder)

    assert make_shard(store, task.address, sleep) is Busy.BUSY
    found = make(task)
    assert isinstance(found, Made)
    assert found.reused


def test_a_sweep_removes_what_dead_processes_left(store: ShardStore) -> None:
    publish(store)
    (store.root / f".building-{ADDRESS.key}-0123").mkdir()
    (store.root / ".damaged-x-0123").mkdir()
    (store.root / ".building-other-0123").mkdir()
    dead = store.root / "gone.lease"
    dead.write_text('{"machine": "elsewhere", "pid": 1, "started": "1", "token": "x"}')
    os.utime(dead, (1, 1))
    alive = take_lease(store.root / "busy.lease")
    assert alive is not None
    (store.root / ".building-busy-0123").mkdir()
    store.sweep()
    assert names(store) == sorted([ADDRESS.key, "busy.lease", ".building-busy-0123"])
    alive.release()


def test_a_shard_is_made_once(tmp_path: Path) -> None:
    task = Task(str(tmp_path / "shards"), "a")
    first, second = make(task), make(task)
    assert isinstance(first, Made)
    assert isinstance(second, Made)
    assert [first.reused, second.reused] == [False, True]
    assert len((tmp_path / "writers").read_text().splitlines()) == 1


def test_what_dead_processes_left_beside_the_leases_goes(store: ShardStore) -> None:
    publish(store)
    for name in (".0123.lease.abcd", ".now.abcd"):
        (store.root / name).touch()
    with store.claim(Address("test", ("other",), {})) as building:
        store.sweep()
        assert building is not None
        assert building.folder.is_dir(), "who lives keeps its folder"
        assert (store.root / f"{building.address.key}.lease").exists()
    assert names(store) == [ADDRESS.key]
