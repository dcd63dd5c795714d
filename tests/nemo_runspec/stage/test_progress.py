from __future__ import annotations

import math

import pytest

from nemo_runspec.stage import Progress, human_count, human_seconds


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Board:
    """A progress under test, its clock, and what it wrote."""

    def __init__(self, total: int | None, *, unit: str = "step", every_s: float = 2.0, start: int = 0) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.progress = Progress(
            "pretrain", total, unit=unit, every_s=every_s, start=start, write=self.lines.append, clock=self.clock
        )

    def after(self, seconds: float, step: int, *, tokens: int | None = None, **values: float) -> list[str]:
        """Move the clock, update, and give the lines written by that."""
        self.clock.now += seconds
        before = len(self.lines)
        self.progress.update(step, tokens=tokens, **values)
        return self.lines[before:]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.7, "1k"),
        (1000, "1k"),
        (11_234, "11.2k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1_500_000, "1.5M"),
        (3_420_000_000, "3.42B"),
        (15e12, "15T"),
        (-1234, "-1.23k"),
        (0.25, "0.25"),
    ],
)
def test_counts_for_people(value: float, text: str) -> None:
    assert human_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (83, "1m 23s"),
        (3599.9, "1h 00m"),
        (7500, "2h 05m"),
        (86_399, "23h 59m"),
        (86_400, "1d 00h"),
        (273_600, "3d 04h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_a_line_says_how_far_how_fast_and_how_long_still() -> None:
    board = Board(700)
    assert board.after(10, 100, tokens=112_000, loss=5.0) == [
        "pretrain  step 100/700  loss 5.000  11.2k tok/s  1m 00s left"
    ]
    assert board.after(10, 150, tokens=162_000, loss=4.8123, lr=3e-4) == [
        "pretrain  step 150/700  loss 4.812  lr 0.0003  5k tok/s  1m 50s left"
    ]


def test_lines_keep_their_distance() -> None:
    board = Board(100)
    assert len(board.after(0, 1)) == 1
    assert board.after(1.9, 2) == []
    assert len(board.after(0.1, 3)) == 1
    assert board.after(1.0, 4) == []


def test_the_first_and_the_last_step_are_always_shown() -> None:
    board = Board(3, every_s=60)
    assert [len(board.after(0.1, step)) for step in (1, 2, 3)] == [1, 0, 1]


def test_the_last_line_speaks_of_the_whole_run() -> None:
    board = Board(100)
    board.after(50, 10, tokens=1000)
    assert board.after(50, 100, tokens=20_000) == ["pretrain  step 100/100  200 tok/s  in 1m 40s"]


def test_the_speed_forgets_the_slow_beginning() -> None:
    board = Board(1000, every_s=1)
    board.after(100, 1, tokens=10)
    for step in range(2, 30):
        last = board.after(1, step, tokens=10 * step)
    assert last == ["pretrain  step 29/1000  10 tok/s  16m 11s left"]


def test_what_is_not_tokens_has_its_own_unit() -> None:
    board = Board(5000, unit="doc")
    assert board.after(10, 3400) == ["pretrain  doc 3400/5000  340 doc/s  5s left"]


def test_slow_steps_are_given_in_seconds_each() -> None:
    assert Board(10).after(12.5, 1) == ["pretrain  step 1/10  12.5 s/step  1m 52s left"]


def test_steps_of_an_earlier_run_do_not_count_for_the_speed() -> None:
    board = Board(200, start=100)
    assert board.after(10, 110, tokens=1_000_000) == ["pretrain  step 110/200  1m 30s left"]
    assert board.after(10, 120, tokens=1_001_000) == ["pretrain  step 120/200  100 tok/s  1m 20s left"]


def test_without_a_total_no_end_is_foretold_and_the_last_line_is_asked_for() -> None:
    board = Board(None, unit="file")
    assert board.after(1, 5) == ["pretrain  file 5  5 file/s"]
    assert board.after(1, 9) == []
    board.progress.finish()
    board.progress.finish()
    assert board.lines[1:] == ["pretrain  file 9  4 file/s"]


def test_finishing_what_never_began_says_nothing() -> None:
    board = Board(10)
    board.progress.finish()
    assert board.lines == []


def test_a_clock_that_stands_still_gives_no_speed() -> None:
    assert Board(10).after(0, 1, tokens=5) == ["pretrain  step 1/10  0s left"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.01, "0.010"),
        (0.00999, "0.00999"),
        (-2.5, "-2.500"),
        (12_345.6, "12.3k"),
        (7, "7"),
        (1_234_567, "1.23M"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_measured_values(value: float, text: str) -> None:
    assert Board(10).after(0, 1, value=value)[0].split("  ")[2] == f"value {text}"


def test_lines_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("sft", 1).update(1)
    assert capsys.readouterr().out.startswith("sft  step 1/1  ")
