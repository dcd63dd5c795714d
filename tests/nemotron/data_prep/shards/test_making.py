from __future__ import annotations

import multiprocessing
from collections import Counter
from typing import TYPE_CHECKING

from nemotron.data_prep.shards import Made, ShardStore, make_all, open_crew
from tests.nemotron.data_prep.shards.works import Task, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemotron.data_prep.shards.meter import Amounts


class Notes:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.waits: list[int] = []
        self.ticks = 0
        self.on_wait: Callable[[], None] = lambda: None

    def ended(self, made: Made) -> None:
        self.made.append(made)

    def tick(self, _: Amounts) -> None:
        self.ticks += 1

    def wait_for(self, others: int) -> None:
        self.waits.append(others)
        self.on_wait()


def tasks(folder: Path, count: int, pause_s: float = 0.0) -> list[Task]:
    return [Task(str(folder / "shards"), str(number), pause_s=pause_s) for number in range(count)]


def make_everything(folder: Path, count: int, pause_s: float) -> None:
    with open_crew(2) as crew:
        make_all(crew, make, tasks(folder, count, pause_s), Notes())


def test_the_shards_come_in_the_order_of_their_tasks(tmp_path: Path) -> None:
    wanted = tasks(tmp_path, 7)
    notes = Notes()
    with open_crew(2) as crew:
        made = make_all(crew, make, [*wanted, wanted[0]], notes)
    assert [one.receipt.key for one in made] == [task.address.key for task in [*wanted, wanted[0]]]
    assert len(notes.made) == 7
    assert notes.ticks >= 7
    with open_crew(1) as crew:
        again = make_all(crew, make, wanted, Notes())
    assert all(one.reused for one in again)
    assert [one.receipt for one in again] == [one.receipt for one in made[:7]]


def test_two_runs_share_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=make_everything, args=(tmp_path, 12, 0.1)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    written = Counter(line.split()[0] for line in (tmp_path / "writers").read_text().splitlines())
    assert written == Counter({str(number): 1 for number in range(12)})


def test_a_shard_of_another_run_is_waited_for(tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "shards")
    (task,) = tasks(tmp_path, 1)
    notes = Notes()
    with store.claim(task.address) as building, open_crew(1) as crew:
        assert building is not None
        notes.on_wait = (store.root / f"{task.address.key}.lease").unlink
        made = make_all(crew, make, [task], notes)
    assert notes.waits == [1]
    assert not made[0].reused
