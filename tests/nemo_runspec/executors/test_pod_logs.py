from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.executors.pod_logs import follow, short_name
from nemo_runspec.platforms.workload import JobState, Submitted
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = Submitted("lepton", "job", "id", "sft-abc123")


@pytest.mark.parametrize(
    ("pod", "short"),
    [
        ("sft-abc123-0-x1y2z", "0"),
        ("sft-abc123-12-x1y2z", "12"),
        ("sft-abc123-worker-0", "worker-0"),
        ("sft-abc123-master-0", "master-0"),
        ("sft-abc123-0-0", "0-0"),
        ("another", "another"),
    ],
)
def test_a_line_is_told_by_its_pods_short_name(pod: str, short: str) -> None:
    assert short_name(pod, "sft-abc123") == short


def test_all_pods_are_read_and_a_finished_job_ends_the_log() -> None:
    platform = FakePlatform(
        states=[JobState.SUCCEEDED], logs={"sft-abc123-worker-0": ["a", "b"], "sft-abc123-worker-1": ["c"]}
    )
    lines = list(follow(platform, JOB, interval_s=0.01))
    assert sorted(lines) == ["[worker-0] a", "[worker-0] b", "[worker-1] c"]
    assert lines.index("[worker-0] a") < lines.index("[worker-0] b")


def test_a_job_that_never_started_has_an_empty_log() -> None:
    assert list(follow(FakePlatform(states=[JobState.QUEUED, JobState.CANCELLED]), JOB, interval_s=0.01)) == []


def test_a_pod_that_comes_later_is_read_while_another_one_still_speaks() -> None:
    second_was_read = threading.Event()

    class Late(FakePlatform):
        def pods(self, workload: Submitted) -> tuple[str, ...]:
            names = super().pods(workload)
            return names if self.looks > 1 else names[:1]

        def log(self, workload: Submitted, pod: str) -> Iterator[str]:
            assert workload == JOB
            if pod.endswith("1"):
                yield "second"
                second_was_read.set()
                return
            yield "first"
            assert second_was_read.wait(30)
            yield "last"

    platform = Late(states=[JobState.RUNNING], logs={"sft-abc123-worker-0": [], "sft-abc123-worker-1": []})
    lines = []
    for line in follow(platform, JOB, interval_s=0.01):
        lines.append(line)
        if line == "[worker-0] last":
            platform.states = [JobState.FAILED]
    assert lines == ["[worker-0] first", "[worker-1] second", "[worker-0] last"]


def test_an_unreachable_platform_ends_nothing_and_a_log_that_is_refused_is_told() -> None:
    class Refusing(FakePlatform):
        def pods(self, workload: Submitted) -> tuple[str, ...]:
            if self.looks == 1:
                message = "no answer"
                raise UnreachableError(message)
            return super().pods(workload)

        def log(self, workload: Submitted, pod: str) -> Iterator[str]:
            message = f"403 for {workload.name} {pod}"
            raise DeniedError(message)

    platform = Refusing(states=[JobState.UNREACHABLE, JobState.SUCCEEDED], logs={"sft-abc123-0-x1y2z": []})
    expected = "[0] its log cannot be read: 403 for sft-abc123 sft-abc123-0-x1y2z"
    assert list(follow(platform, JOB, interval_s=0.01)) == [expected]
