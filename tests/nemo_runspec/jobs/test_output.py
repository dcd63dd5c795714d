from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, GoneError, UnreachableError
from nemo_runspec.jobs import LogLine, logs, output
from nemo_runspec.platforms.workload import JobState, Seen
from tests.nemo_runspec.jobs.places import entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.nemo_runspec.jobs.places import Cluster

NAME = "sft-aaaaaa"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.LOST])
def test_the_output_of_what_has_ended_is_shown_to_its_end(clusters: Mapping[str, Cluster], state: JobState) -> None:
    clusters["a"].states[NAME] = Seen(state)
    clusters["a"].logs[NAME] = ["a", "b"]
    assert [line.line for line in logs(entry(NAME))] == ["a", "b"]
    assert next(iter(logs(entry(NAME), follow=True))) == LogLine("task-0", "task-0", "a")


def test_without_following_it_is_what_there_is(
    clusters: Mapping[str, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "QUIET_S", 0.3)
    clusters["a"].states[NAME] = Seen(JobState.RUNNING)
    clusters["a"].logs[NAME] = ["a", "b"]
    assert [line.line for line in logs(entry(NAME))] == ["a", "b"]
    clusters["a"].states[NAME] = Seen(JobState.SUCCEEDED)


def test_following_goes_on_until_the_end(clusters: Mapping[str, Cluster]) -> None:
    clusters["a"].states[NAME] = Seen(JobState.RUNNING)
    clusters["a"].logs[NAME] = ["a"]
    found = logs(entry(NAME), follow=True)
    assert next(found).line == "a"
    clusters["a"].states[NAME] = Seen(JobState.SUCCEEDED)
    assert list(found) == []


def test_what_has_kept_nothing_is_told(clusters: Mapping[str, Cluster]) -> None:
    assert clusters["a"].logs == {}
    with pytest.raises(GoneError, match="has kept nothing of its output"):
        list(logs(entry(NAME)))


def test_what_has_not_arrived_has_no_output_yet(clusters: Mapping[str, Cluster]) -> None:
    clusters["a"].logs[NAME] = ["of another one"]
    with pytest.raises(UnreachableError, match="whether 'sft-aaaaaa' has arrived is not known"):
        list(logs(entry(NAME, job="")))


def test_a_refusal_is_told(clusters: Mapping[str, Cluster]) -> None:
    clusters["a"].failure = DeniedError("not you")
    with pytest.raises(DeniedError):
        list(logs(entry(NAME), follow=True))
