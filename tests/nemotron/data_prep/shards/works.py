"""Work for crews: functions of a module, as worker processes need them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.shards import Address, Busy, FileRecord, Made, ShardStore, Written, make_shard, meter


@dataclass(frozen=True, slots=True)
class Task:
    """A shard with one file."""

    store: str
    name: str
    text: str = "text"
    pause_s: float = 0.0

    @property
    def address(self) -> Address:
        return Address("test", (self.name,), {"text": self.text})


def make(task: Task) -> Made | Busy:
    return make_shard(ShardStore(Path(task.store)), task.address, lambda folder: write(task, folder))


def write(task: Task, folder: Path) -> Written:
    path = folder / "content"
    path.write_text(task.text, encoding="utf-8")
    with (Path(task.store).parent / "writers").open("a", encoding="utf-8") as log:
        log.write(f"{task.name} {os.getpid()}\n")
    meter.add(len(task.text), 1)
    time.sleep(task.pause_s)
    return Written({"content": FileRecord.of(path)}, {"bytes": len(task.text), "tokens": 1})


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    if number == 3:
        message = "the third is wrong"
        raise DataError(message, where=Location(Path("numbers.txt"), 3), remedy="Take another.")
    return number


def kill_oneself(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(flag: str) -> str:
    """Kill the worker, but not the one that tries again."""
    path = Path(flag)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"
