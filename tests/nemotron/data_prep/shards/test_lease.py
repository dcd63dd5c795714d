from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep.shards import lease as leases
from nemotron.data_prep.shards.lease import EXPIRY_S, Owner, is_free, take_lease

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path


def hold(path: Path, taken: Event, leave: Event) -> None:
    lease = take_lease(path)
    assert lease is not None
    taken.set()
    leave.wait(30)
    lease.release()


def compete(path: Path, start: Event, wins: Path) -> None:
    start.wait(30)
    lease = take_lease(path)
    if lease is not None:
        with wins.open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        lease.release()


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "shard.lease"
    first = take_lease(path)
    assert first is not None
    assert take_lease(path) is None
    assert not is_free(path)
    first.release()
    assert is_free(path)
    second = take_lease(path)
    assert second is not None
    second.release()
    assert [item.name for item in tmp_path.iterdir()] == [".leases"]


def test_a_killed_owner_s_lease_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shard.lease"
    context = multiprocessing.get_context("spawn")
    taken, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, taken, leave))
    process.start()
    assert taken.wait(30)
    assert take_lease(path) is None
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lease = take_lease(path)
    assert lease is not None
    lease.release()


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path: Path) -> None:
    path = tmp_path / "shard.lease"
    here = Owner.here()
    assert not here.is_dead()
    path.write_text(json.dumps({"machine": here.machine, "pid": here.pid, "started": "1", "token": "x"}))
    assert is_free(path)


@pytest.mark.parametrize("content", ['{"machine": "elsewhere", "pid": 1, "started": "1", "token": "x"}', "", "{"])
def test_a_lease_of_another_machine_lives_by_its_heartbeat(tmp_path: Path, content: str) -> None:
    path = tmp_path / "shard.lease"
    path.write_text(content)
    assert not is_free(path)
    assert take_lease(path) is None
    old = time.time() - EXPIRY_S - 1
    os.utime(path, (old, old))
    assert is_free(path)
    lease = take_lease(path)
    assert lease is not None
    lease.release()


def test_the_owner_renews_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.01)
    path = tmp_path / "shard.lease"
    lease = take_lease(path)
    assert lease is not None
    os.utime(path, (1, 1))
    deadline = time.monotonic() + 10
    while path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > 2
    lease.release()


def test_an_owner_that_was_taken_for_dead_leaves_the_new_lease_alone(tmp_path: Path) -> None:
    path = tmp_path / "shard.lease"
    first = take_lease(path)
    assert first is not None
    path.unlink()
    second = take_lease(path)
    assert second is not None
    first.release()
    assert not is_free(path)
    second.release()
    assert not path.exists()


def test_of_many_that_find_a_dead_one_s_lease_one_gets_it(tmp_path: Path) -> None:
    path, wins = tmp_path / "shard.lease", tmp_path / "wins"
    wins.touch()
    context = multiprocessing.get_context("fork")
    start = context.Event()
    here = Owner.here()
    path.write_text(json.dumps({"machine": here.machine, "pid": here.pid, "started": "1", "token": "dead"}))
    # The one that wins keeps it for as long as the others need to find out.
    processes = [context.Process(target=compete, args=(path, start, wins)) for _ in range(16)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    winners = wins.read_text().split()
    assert winners
    assert len(winners) == len(set(winners))
    assert is_free(path)


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "shard.lease"
    first = take_lease(path)
    assert first is not None
    assert take_lease(path) is None
    first.release()
    assert is_free(path)
