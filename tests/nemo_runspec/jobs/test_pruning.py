from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import UnreachableError
from nemo_runspec.jobs import prune
from nemo_runspec.platforms.workload import JobState, Seen
from tests.nemo_runspec.jobs.places import entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.executors.journal import Journal
    from tests.nemo_runspec.jobs.places import Cluster

DAY_S = 86400.0


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def test_what_ended_long_ago_is_forgotten_with_what_it_left(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    for name, days in (("old-aaaaaa", 40), ("new-aaaaaa", 3)):
        journal.write(entry(name, created=ago(days), ended=ago(days), state="succeeded"))
    (dry,) = prune(journal, older_than_s=30 * DAY_S, dry_run=True)
    assert (dry.job.entry.name, dry.removed, clusters["a"].removed) == ("old-aaaaaa", True, [])
    (done,) = prune(journal, older_than_s=30 * DAY_S)
    assert (done.as_data()["key"], done.as_data()["removed"]) == ("old-aaaaaa", True)
    assert clusters["a"].removed == ["old-aaaaaa"]
    assert [one.name for one in journal.entries()] == ["new-aaaaaa"]


@pytest.mark.parametrize("state", [state for state in JobState if not state.is_final])
def test_what_may_still_run_is_kept_however_old(
    journal: Journal, clusters: Mapping[str, Cluster], state: JobState
) -> None:
    journal.write(entry("old-aaaaaa", created=ago(400)))
    clusters["a"].states["old-aaaaaa"] = Seen(state)
    (kept,) = prune(journal, older_than_s=0)
    assert (kept.removed, bool(kept.why)) == (False, True)
    assert clusters["a"].removed == []
    assert journal.find("old-aaaaaa") is not None


def test_what_cannot_be_removed_now_is_kept(journal: Journal, clusters: Mapping[str, Cluster]) -> None:
    journal.write(entry("old-aaaaaa", created=ago(400), state="failed"))
    journal.write(entry("old-bbbbbb", created=ago(400)))
    clusters["a"].failure = UnreachableError("no answer")
    done = prune(journal, older_than_s=DAY_S)
    assert [(one.removed, one.why) for one in done] == [(False, "no answer")] * 2
    assert len(list(journal.entries())) == 2


def test_what_nobody_knows_any_more_and_what_never_arrived_goes(
    journal: Journal, clusters: Mapping[str, Cluster]
) -> None:
    journal.write(entry("old-aaaaaa", created=ago(400)))
    journal.write(entry("old-bbbbbb", created=ago(400), job=""))
    assert [one.removed for one in prune(journal, older_than_s=DAY_S)] == [True, True]
    assert clusters["a"].removed == ["old-aaaaaa"]  # what never arrived has no identifier to remove it by
    assert list(journal.entries()) == []


@pytest.mark.parametrize(
    ("days", "wanted", "gone"),
    [(30.5, 30, True), (30.02, 30, False), (-1, 0, True), (-1, 1, False), (1.01, 1, False), (1.2, 1, True)],
)
def test_clocks_may_differ_by_an_hour(
    journal: Journal, clusters: Mapping[str, Cluster], days: float, wanted: float, *, gone: bool
) -> None:
    journal.write(entry("old-aaaaaa", created=ago(days), state="failed"))
    done = prune(journal, older_than_s=wanted * DAY_S)
    assert [one.removed for one in done] == ([True] if gone else [])
    assert bool(clusters["a"].removed) is gone
