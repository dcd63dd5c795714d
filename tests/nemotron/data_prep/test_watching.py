"""What a user sees while shards are made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep.shards import Made, Receipt
from nemotron.data_prep.shards.meter import Amounts
from nemotron.data_prep.watching import Goal, WorkWatch
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from pathlib import Path

MB = 10**6
NOTHING = Amounts(0, 0)


class Watched:
    """A watch with a clock that is set by hand, and the lines it has written."""

    def __init__(self, folder: Path, goal: Goal, rank: int = 0) -> None:
        self.seconds = 0.0
        self.lines: list[str] = []
        made = replace(stage(folder), rank=rank)
        self.watch = WorkWatch(made, goal, clock=lambda: self.seconds, write=self.lines.append)

    def after(self, seconds: float, within: Amounts = NOTHING) -> str:
        """Let time pass, and give what is said then."""
        self.seconds += seconds
        before = len(self.lines)
        self.watch.tick(within)
        return self.lines[-1] if len(self.lines) > before else ""

    def shard(self, read: int, tokens: int, *, reused: bool = False) -> None:
        self.watch.ended(Made(Receipt("key", {}, {}, {"bytes": read, "tokens": tokens}), reused))


def test_bar_amounts_speed_and_time_left(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(40 * MB))
    watched.shard(10 * MB, 2 * MB)
    assert watched.after(2.0) == "test  [######------------------]  25%  10/40 MB  2M tokens  1M tok/s  6s left"
    watched.shard(10 * MB, 3 * MB)
    assert watched.after(2.0, Amounts(10 * MB, MB)) == (
        "test  [##################------]  75%  30/40 MB  6M tokens  1.5M tok/s  1s left"
    )
    watched.shard(20 * MB, 6 * MB)
    watched.seconds += 4
    watched.watch.finish()
    assert watched.lines[-1] == "test  [########################] 100%  40/40 MB  11M tokens  1.38M tok/s  in 8s"


def test_lines_are_rare(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(40 * MB))
    said = [watched.after(0.25, Amounts(MB * tick, MB * tick)) for tick in range(40)]
    assert [bool(line) for line in said] == [tick % 8 == 7 for tick in range(40)]


def test_before_anything_is_measured_no_speed_is_told(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(40 * MB))
    assert watched.after(3.0) == "test  [------------------------]   0%  0/40 MB"
    assert "left" not in watched.after(3.0)
    assert watched.after(3.0, Amounts(20 * MB, 0)).endswith("20/40 MB  9s left"), "read, and no document yet"


def test_a_task_that_ends_while_its_meter_is_reset_is_no_step_back_in_speed(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(40 * MB))
    watched.after(3.0, Amounts(20 * MB, 4 * MB))
    for _ in range(20):
        watched.after(3.0, Amounts(20 * MB, 4 * MB))
    line = watched.after(3.0, Amounts(2 * MB, MB))
    assert "/s" not in line
    assert "left" not in line
    assert "-1" not in line


def test_what_was_there_already_counts_as_done_and_not_as_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(tmp_path, Goal(40 * MB))
    watched.shard(20 * MB, 8 * MB, reused=True)
    assert watched.after(2.0) == "test  [############------------]  50%  20/40 MB  8M tokens"
    watched.shard(10 * MB, 4 * MB)
    assert watched.after(2.0) == "test  [##################------]  75%  30/40 MB  12M tokens  1M tok/s  4s left"
    watched.shard(10 * MB, 4 * MB)
    watched.watch.finish()
    assert watched.lines[-1] == "test  [########################] 100%  40/40 MB  16M tokens  2M tok/s  in 4s"
    assert capsys.readouterr().out == "test  1 of 3 shards were there already\n"
    assert (watched.watch.made, watched.watch.reused) == (2, 1)


def test_where_all_is_there_already_no_bar_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(tmp_path, Goal(10 * MB, things="packed files"))
    watched.shard(10 * MB, MB, reused=True)
    watched.watch.finish()
    assert watched.lines == []
    assert capsys.readouterr().out == "test  1 of 1 packed files were there already\n"


def test_packing_counts_tokens(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(8 * MB, in_tokens=True))
    assert watched.after(2.0, Amounts(2 * MB, 2 * MB)) == (
        "test  [######------------------]  25%  2M/8M tokens  1M tok/s  6s left"
    )
    watched.shard(8 * MB, 8 * MB)
    watched.watch.finish()
    assert watched.lines[-1] == "test  [########################] 100%  8M/8M tokens  4M tok/s  in 2s"


def test_of_a_sample_nobody_knows_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Goal(None))
    assert watched.after(2.0, Amounts(3 * MB, 2 * MB)) == "test  3 MB  2M tokens  1M tok/s"
    watched.shard(4 * MB, 3 * MB)
    watched.watch.finish()
    assert watched.lines[-1] == "test  4 MB  3M tokens  1.5M tok/s  in 2s"


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        (1_234, "0 MB"),
        (234_567, "0.23 MB"),
        (1_234_567, "1.23 MB"),
        (12_345_678, "12.3 MB"),
        (98_765_432_100, "98,765 MB"),
    ],
)
def test_sizes_have_as_many_figures_as_help(tmp_path: Path, total: int, shown: str) -> None:
    watched = Watched(tmp_path, Goal(total))
    watched.shard(total, 1)
    watched.watch.finish()
    assert f"/{shown} " in watched.lines[-1]


def test_more_may_be_read_than_there_is(tmp_path: Path) -> None:
    # Two shards that meet read the line between them, and a data set may be in a blend twice.
    watched = Watched(tmp_path, Goal(10 * MB))
    assert "100%  10/10 MB" in watched.after(2.0, Amounts(11 * MB, 1))
    assert Watched(tmp_path, Goal(0)).after(2.0) == "test  [########################] 100%  0/0 MB"


def test_others_work_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(tmp_path, Goal(10 * MB))
    for others in (3, 2, 1):
        watched.watch.wait_for(others)
    assert capsys.readouterr().out == "test  waiting for another run that is making 3 of the shards\n"


def test_only_the_first_rank_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(tmp_path, Goal(10 * MB), rank=1)
    watched.shard(5 * MB, MB)
    watched.shard(5 * MB, MB, reused=True)
    assert watched.after(2.0) == ""
    watched.watch.wait_for(1)
    watched.watch.finish()
    assert watched.lines == []
    assert capsys.readouterr().out == ""
