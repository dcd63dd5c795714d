"""All shards of a preparation: found again, made, or waited for where another run is making them."""

from __future__ import annotations

import enum
import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nemotron.data_prep.checksums import FileRecord
    from nemotron.data_prep.shards.crew import Crew
    from nemotron.data_prep.shards.meter import Amounts
    from nemotron.data_prep.shards.receipt import Address, Problem, Receipt
    from nemotron.data_prep.shards.store import ShardStore

T = TypeVar("T")

_ASK_AGAIN_S = 0.5
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


class Busy(enum.Enum):
    """Somebody else is making the shard."""

    BUSY = enum.auto()


@dataclass(frozen=True, slots=True)
class Made:
    """A finished shard.

    Args:
        receipt: What it holds.
        reused: Whether it was there already.
    """

    receipt: Receipt
    reused: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer has put into a shard's folder; see `Building.publish`."""

    files: Mapping[str, FileRecord]
    counts: Mapping[str, int]
    problems: tuple[Problem, ...] = ()


class Watcher(Protocol):
    """Who shows how far the work is."""

    def ended(self, made: Made) -> None:
        """Take note of a finished shard."""

    def tick(self, within: Amounts) -> None:
        """Take note of how much of unfinished shards is done."""

    def wait_for(self, others: int) -> None:
        """Take note that only shards are left that other runs are making."""


def make_shard(store: ShardStore, address: Address, write: Callable[[Path], Written]) -> Made | Busy:
    """Find a shard, or make it.

    Args:
        store: Where it belongs.
        address: What it is made of.
        write: Writes its files into a folder.

    Returns:
        The shard, or BUSY while another process makes it.

    Raises:
        DataError: The folder cannot be written to: the disk is full, or writing there is not permitted.
    """
    try:
        return _make(store, address, write)
    except OSError as error:
        raise _unwritable(store.root, error) from error


def _unwritable(folder: Path, error: OSError) -> DataError:
    """Give the error for a folder that cannot be written to; those of data files are `DataError`s already."""
    remedy = "Check the disk, and run again: what is finished is kept."
    if error.errno in _FULL:
        remedy = "Make room there and run again, which keeps what is finished; or set 'output_dir' to another place."
    elif error.errno in _FORBIDDEN:
        remedy = "Permit this user to write there, or set 'output_dir' to another place."
    message = f"the shards cannot be written: {error.strerror or error}"
    return DataError(message, where=Location(folder), remedy=remedy)


def _make(store: ShardStore, address: Address, write: Callable[[Path], Written]) -> Made | Busy:
    found = store.find(address.key)
    if found is not None:
        return Made(found, reused=True)
    with store.claim(address) as building:
        if building is None:
            return Busy.BUSY
        # Who held the lease before may have published between our look and our claim.
        found = store.find(address.key)
        if found is not None:
            return Made(found, reused=True)
        try:
            written = write(building.folder)
            return Made(building.publish(written.files, written.counts, written.problems), reused=False)
        except OSError:
            if building.folder.is_dir():
                raise
            # This process slept so long that another one took it for dead, and cleared its folder away.
            return Busy.BUSY


def make_all(crew: Crew, work: Callable[[T], Made | Busy], tasks: Sequence[T], watcher: Watcher) -> list[Made]:
    """Make the shard of each task.

    Args:
        crew: Who does the work.
        work: A module's function that calls `make_shard`.
        tasks: What to make; hashable, and equal ones are made once.
        watcher: Is told how far the work is.

    Returns:
        The shards, in the order of the tasks.
    """
    made: dict[T, Made] = {}
    left = list(dict.fromkeys(tasks))
    while left:
        busy: list[T] = []
        for outcome in crew.run(work, left):
            if outcome is not None:
                task, result = outcome
                if isinstance(result, Made):
                    made[task] = result
                    watcher.ended(result)
                else:
                    busy.append(task)
            watcher.tick(crew.measured())
        if len(busy) == len(left):
            # Only others' work is left: there is no event to wait for but the end of their leases.
            watcher.wait_for(len(busy))
            time.sleep(_ASK_AGAIN_S)
        left = busy
    return [made[task] for task in tasks]
