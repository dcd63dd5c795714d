from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import slurm_submit
from benchmarks.slurm_submit import CHANGED, FIRST, OURS, SECOND, SIDES, STOCK, Measured

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    STOCK: Measured(3.0, 0),
    OURS: Measured(2.0, 800_000),
    FIRST: Measured(2.2, 900_000),
    SECOND: Measured(1.5, 9_000),
    CHANGED: Measured(1.8, 30_000),
}


def test_every_promise_is_judged_by_its_own_numbers() -> None:
    assert [verdict.met for verdict in slurm_submit.judge(GOOD)] == [True] * 5
    broken = (
        {OURS: replace(GOOD[OURS], seconds=4.0)},
        {FIRST: replace(GOOD[FIRST], seconds=4.0)},
        {SECOND: replace(GOOD[SECOND], sent_bytes=600_000)},
        {SECOND: replace(GOOD[SECOND], seconds=2.5)},
        {CHANGED: replace(GOOD[CHANGED], sent_bytes=500_000)},
    )
    for number, change in enumerate(broken):
        assert [verdict.met for verdict in slurm_submit.judge(GOOD | change)].index(False) == number


def test_medians_are_taken_of_each_side() -> None:
    several = [Measured(seconds, sent) for seconds, sent in ((1.0, 5), (9.0, 1), (2.0, 3))]
    assert slurm_submit.medians_of(dict.fromkeys(SIDES, several)) == dict.fromkeys(SIDES, Measured(2.0, 3))


@pytest.mark.parametrize(("second", "code"), [(1.5, 0), (9.0, 1)])
def test_a_promise_that_is_missed_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], second: float, code: int
) -> None:
    found = {side: [one] for side, one in (GOOD | {SECOND: Measured(second, 9_000)}).items()}
    monkeypatch.setattr(slurm_submit, "compare", lambda _runs: found)
    assert slurm_submit.main([]) == code
    assert ("FAIL" in capsys.readouterr().out) == bool(code)
    assert slurm_submit.main(["--json"]) == code
    assert len(json.loads(capsys.readouterr().out)["promises"]) == 5


def test_code_is_the_same_for_one_seed_and_does_not_compress(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        slurm_submit.fill(tmp_path / name, seed)
    first, same, other = ([path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc")
    assert first == same != other
    assert len(first) == slurm_submit.FILES
