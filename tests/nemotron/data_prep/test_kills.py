"""Preparations that are killed at any moment and started again: the same bytes as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.data_prep.killing import PATIENCE_S, Run, Scene, scene, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

KILLS = {"pretrain": 50, "sft": 15}
SIZE = {"pretrain": 2_400_000, "sft": 1_500_000}
_TICK_S = 0.002


@pytest.fixture(scope="module", params=["pretrain", "sft"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str]]:
    """Give a scene, and what an undisturbed run makes in it."""
    made = scene(tmp_path_factory.mktemp(request.param), request.param, SIZE[request.param])
    said = made.run()
    assert "2 not usable" in said
    assert len(made.shards()) > 14
    return made, made.tree()


def assert_complete(made: Scene, expected: dict[str, str]) -> None:
    assert made.tree() == expected
    beside = {path.name for path in made.store.iterdir()} - set(made.shards())
    assert beside <= {".leases"}, "nothing half-made is left, and no lease"


def assert_whole_or_not_there(made: Scene, expected: dict[str, str]) -> None:
    """See that every finished shard is as it has to be, also just after a kill."""
    for name in made.shards():
        part = made.tree(made.store / name)
        assert part.items() <= expected.items()
        assert len(part) == sum(path.startswith(f"shards/{name}/") for path in expected)


class Chance:
    """Draws the moments of kills, and who is hit."""

    def __init__(self, made: Scene, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - no secret, a schedule
        self._scene = made
        self._roles = ["group", "worker", "main", "forkserver", "worker", "group"]

    def wait(self, run: Run) -> None:
        """Wait for a moment: some time, some progress, or the publication."""
        kind = self._dice.choices(["time", "progress", "publication"], [2, 7, 1])[0]
        deadline = time.monotonic() + (self._dice.uniform(0.0, 1.5) if kind == "time" else PATIENCE_S)
        goal = self._entries() + self._dice.randint(0, 6)
        # Within a file's writing, not only where a name appears.
        after = self._dice.uniform(0.0, 0.02)
        while not run.ended and time.monotonic() < deadline:
            reached = {"time": False, "progress": self._entries() >= goal, "publication": self._published()}
            if reached[kind]:
                deadline = min(deadline, time.monotonic() + after)
                kind = "time"
            time.sleep(_TICK_S)

    def hit(self, run: Run) -> str:
        """Kill one or all, each in turn; where the one is not there yet, it has its turn the next time."""
        whom = self._roles[0]
        victims = {"main": [run.pid], "worker": run.workers()[:1], "forkserver": run.forkserver()}.get(whom, [])
        if victims or whom == "group":
            self._roles.append(self._roles.pop(0))
        if victims:
            os.kill(victims[0], signal.SIGKILL)
            return whom
        os.killpg(run.pid, signal.SIGKILL)
        return "group"

    def _entries(self) -> int:
        return len(os.listdir(self._scene.store)) if self._scene.store.is_dir() else 0  # noqa: PTH208 - asked often

    def _published(self) -> bool:
        return bool(list(self._scene.out.glob("*/data")))


def test_killed_at_any_moment_and_run_again_it_gives_the_same_bytes(place: tuple[Scene, dict[str, str]]) -> None:
    made, expected = place
    chance = Chance(made, 11)
    kills: list[str] = []
    while len(kills) < KILLS[made.kind]:
        made.clear()
        while len(kills) < KILLS[made.kind]:
            run = made.start()
            try:
                chance.wait(run)
                if run.ended:
                    break
                whom = chance.hit(run)
                code = run.wait()
            finally:
                run.end()
            kills.append(whom)
            if whom in ("worker", "forkserver"):
                # It may have done its last task, and is not missed then.
                assert code in (0, 1), run.said()
                assert code == 0 or "the same command goes on" in run.said()
                assert "Traceback" not in run.said()
            else:
                assert code == -signal.SIGKILL
            assert_whole_or_not_there(made, expected)
        made.run()
        assert_complete(made, expected)
    assert {"group", "main", "worker", "forkserver"} <= set(kills)


def test_a_killed_worker_ends_the_run_with_a_way_on(place: tuple[Scene, dict[str, str]]) -> None:
    made, expected = place
    made.clear()
    run = made.start()
    try:
        wait_until(lambda: run.ended or bool(list(made.store.glob("*.lease"))))
        (first, _) = run.workers()
        os.kill(first, signal.SIGKILL)
        assert run.wait() == 1
    finally:
        run.end()
    said = run.said()
    assert "worker died: a worker process was ended from outside" in said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    made.run()
    assert_complete(made, expected)


@pytest.mark.parametrize("whom", ["worker", "main"])
def test_a_run_that_sleeps_beside_another_one(place: tuple[Scene, dict[str, str]], whom: str) -> None:
    made, expected = place
    made.clear()
    one = made.start("one")
    other = None
    try:
        wait_until(lambda: one.ended or bool(list(made.store.glob("*.lease"))))
        stopped = one.workers()[0] if whom == "worker" else one.pid
        os.kill(stopped, signal.SIGSTOP)
        other = made.start("other")
        # The other one does all but what the sleeper may hold.
        wait_until(lambda: other.ended or len(made.shards()) >= 8)
        os.kill(stopped, signal.SIGCONT)
        assert (one.wait(), other.wait()) == (0, 0), one.said() + other.said()
    finally:
        for run in (one, other):
            if run is not None:
                run.end()
    assert_complete(made, expected)


def test_shards_that_are_damaged_are_made_again_and_no_others(place: tuple[Scene, dict[str, str]]) -> None:
    made, expected = place
    if made.tree() != expected:
        made.run()
    files = sorted(made.store.glob("*/train.bin"))[:3]
    with files[0].open("r+b") as stream:
        stream.truncate(files[0].stat().st_size - 2)
    content = bytearray(files[1].read_bytes())
    content[len(content) // 2] ^= 1
    files[1].write_bytes(content)
    files[2].with_name("receipt.json").unlink()
    damaged = {path.parent.name for path in files}
    before = _inodes(made)
    said = made.run()
    shards = len([name for name in made.shards() if not (made.store / name / "packed.parquet").exists()])
    assert f"{shards - 3} of {shards} shards were there already" in said
    after = _inodes(made)
    assert {name for name in after if after[name] != before[name]} == damaged
    assert_complete(made, expected)


def test_another_weight_makes_no_shard(tmp_path: Path) -> None:
    made = scene(tmp_path, "pretrain", 600_000)
    made.run()
    before, tree = _inodes(made), made.tree()
    made.weigh(1, 1, 5)
    said = made.run()
    assert _inodes(made) == before
    assert f"{len(before)} of {len(before)} shards were there already" in said
    new = {name for name in made.tree().keys() - tree.keys() if not name.startswith("shards/")}
    assert {name.partition("/")[2] for name in new} == {
        "data/blend.json",
        "data/skipped.jsonl",
        "data/tokenizer/tokenizer.json",
        "data/tokenizer/tokenizer_config.json",
        "manifest.json",
    }
    made.weigh(2, 1, 1)
    assert "reused made:v3" in made.run(), "what was there before is the latest again"


def _inodes(made: Scene) -> dict[str, list[tuple[str, int, int]]]:
    """Give the identity of each shard's files: one that is written again has another."""
    found = {}
    for name in made.shards():
        stats = [(path.name, path.stat()) for path in sorted((made.store / name).iterdir())]
        found[name] = [(file, stat.st_ino, stat.st_mtime_ns) for file, stat in stats]
    return found
