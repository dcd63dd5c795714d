"""Preparations on a Ray of two nodes whose processes are killed: the same bytes as from undisturbed processes."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ray.cluster_utils import Cluster

from tests.nemotron.data_prep.killing import Run, Scene, scene, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

DRIVERS_KILLED = 3
WORKERS_KILLED = 3
_NODE = {"num_cpus": 1, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give a cluster with one CPU on each of two nodes."""
    made = Cluster(initialize_head=True, head_node_args=_NODE)
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types here


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str]]:
    """Give a scene, and what processes make in it."""
    made = scene(tmp_path_factory.mktemp("ray"), "pretrain", 1_600_000)
    made.run()
    return made, made.tree()


@pytest.fixture
def place(cluster: Cluster, expected: tuple[Scene, dict[str, str]]) -> tuple[Scene, dict[str, str]]:
    """Give the scene as the cluster gets it, with nothing made yet."""
    made, tree = expected
    made.clear()
    return replace(made, ray=cluster.address), tree


def workers(address: str) -> list[int]:
    """List the processes of a cluster that have a task in hand."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError, IndexError):
            title = path.read_text(errors="replace")
            if title.startswith("ray::") and "IDLE" not in title and "Agent" not in title:
                parent = (path.parent / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                if address in Path(f"/proc/{parent}/cmdline").read_text(errors="replace"):
                    found.append(int(path.parent.name))
    return found


def at_work(made: Scene, run: Run, shards: int) -> bool:
    return run.ended or (len(made.shards()) >= shards and bool(workers(made.ray)))


def kill_one(made: Scene, run: Run, shards: int) -> bool:
    """Kill a worker that has a task in hand, once so many shards are finished; True then, and when the run is over."""
    if run.ended or len(made.shards()) < shards:
        return run.ended
    for worker in workers(made.ray)[:1]:
        os.kill(worker, signal.SIGKILL)
        return True
    return False


def assert_made(made: Scene, run: Run, tree: dict[str, str]) -> None:
    assert run.wait() == 0, run.said()
    assert "Traceback" not in run.said()
    assert made.tree() == tree
    beside = {path.name for path in made.store.iterdir()} - set(made.shards())
    assert beside <= {".leases"}, "nothing half-made is left, and no lease"


def test_killed_workers_lose_no_shard_and_double_none(place: tuple[Scene, dict[str, str]]) -> None:
    made, tree = place
    run = made.start()
    try:
        for number in range(WORKERS_KILLED):
            wait_until(partial(kill_one, made, run, 3 * number))
            assert not run.ended, run.said()
        assert_made(made, run, tree)
    finally:
        run.end()
    assert "Ray does the work: 2 tasks at one time, 2 nodes" in run.said()


def test_a_killed_driver_goes_on_from_the_finished_shards(place: tuple[Scene, dict[str, str]]) -> None:
    made, tree = place
    dice = random.Random(3)  # noqa: S311 - no secret, a schedule
    for _ in range(DRIVERS_KILLED):
        run = made.start()
        try:
            goal = len(made.shards()) + dice.randint(1, 4)
            wait_until(partial(at_work, made, run, goal))
            assert not run.ended, run.said()
        finally:
            run.end()
        for name in made.shards():
            assert made.tree(made.store / name).items() <= tree.items()
    finished = len(made.shards())
    run = made.start()
    try:
        assert_made(made, run, tree)
    finally:
        run.end()
    (there,) = (line for line in run.said().splitlines() if "were there already" in line)
    assert int(there.split(" of ")[0].split()[-1]) >= finished


def test_a_lost_node_s_pieces_are_made_on_another(place: tuple[Scene, dict[str, str]], cluster: Cluster) -> None:
    made, tree = place
    lost = cluster.add_node(num_cpus=1)
    run = made.start()
    try:
        wait_until(partial(at_work, made, run, 3))
        assert not run.ended, run.said()
        cluster.remove_node(lost, allow_graceful=False)
        assert_made(made, run, tree)
    finally:
        run.end()
