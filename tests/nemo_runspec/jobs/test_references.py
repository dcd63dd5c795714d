from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import UsageError
from nemo_runspec.executors.journal import nemo_run_home
from nemo_runspec.jobs import find_job, own_journal
from tests.nemo_runspec.jobs.places import entry

if TYPE_CHECKING:
    from nemo_runspec.executors.journal import Journal

LONG = "0b1c77aa-9d53-4d7a-3d8a-1c6b9e42aaaa"


@pytest.fixture(autouse=True)
def jobs(journal: Journal) -> None:
    for one in (
        entry("sft-aaaaaa", "a", job="12"),
        entry("sft-bbbbbb", "b", job="12"),
        entry("dpo-cccccc", "b", job="13"),
        entry("dpo-dddddd", "b", job=LONG),
        entry("dpo-eeeeee", "b", job=""),
    ):
        journal.write(one)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("sft-aaaaaa", "sft-aaaaaa"),
        ("sft-b", "sft-bbbbbb"),
        ("a:12", "sft-aaaaaa"),
        ("at-b:12", "sft-bbbbbb"),
        ("b:12", "sft-bbbbbb"),
        ("13", "dpo-cccccc"),
        (LONG, "dpo-dddddd"),
        (f"b:{LONG[:12]}", "dpo-dddddd"),
        ("dpo-e", "dpo-eeeeee"),
    ],
)
def test_a_job_is_meant_by(journal: Journal, reference: str, name: str) -> None:
    assert find_job(reference, journal).name == name


@pytest.mark.parametrize("reference", ["12", "sft", "s"])
def test_what_may_mean_several_lists_them(journal: Journal, reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_job(reference, journal)
    assert "may mean 2 jobs" in caught.value.message
    for part in ("sft-aaaaaa   a:12", "sft-bbbbbb   b:12"):
        assert part in caught.value.message


@pytest.mark.parametrize("reference", ["", ":", "a:", "a:13", "c:12", LONG[:5], "../x", "sft-aaaaab"])
def test_what_means_none_is_told(journal: Journal, reference: str) -> None:
    with pytest.raises(UsageError, match="was submitted from here"):
        find_job(reference, journal)


def test_ones_own_journal_is_below_nemo_runs_home() -> None:
    assert own_journal().folder.is_relative_to(nemo_run_home())
