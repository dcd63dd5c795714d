from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import EXIT_MARKER
from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.executors.follow import Ending, Follower, log_lines, short_name
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from tests.nemo_runspec.executors.platforms import FakePlatform as StatePlatform
from tests.nemo_runspec.submit.platforms import FAILED, QUEUED, RUNNING, SUCCEEDED, WORKLOAD, FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = Submitted("lepton", "job", "id", "sft-abc123")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemo_runspec.executors.follow.FIRST_LOOK_S", 0.001)


def _follow(platform: FakePlatform) -> tuple[Follower, list[tuple[str, str]], list[str]]:
    lines: list[tuple[str, str]] = []
    said: list[str] = []
    follower = Follower(platform, WORKLOAD, show=lambda pod, line: lines.append((pod, line)), say=said.append)
    return follower, lines, said


def test_the_output_of_every_pod_is_shown_and_the_end_is_told() -> None:
    ended = f"{EXIT_MARKER} sft-ab12cd-0 exit code 0"
    platform = FakePlatform(
        [QUEUED, QUEUED, RUNNING, RUNNING, RUNNING, SUCCEEDED],
        {"sft-ab12cd-0": ["one", "two", ended], "sft-ab12cd-1": ["three"]},
    )
    follower, lines, said = _follow(platform)
    ending = follower.run()
    assert ending.state is JobState.SUCCEEDED
    assert ending.exit_codes == {"sft-ab12cd-0": 0}
    assert ending.failure is None
    assert [line for pod, line in lines if pod.endswith("0")] == ["one", "two", ended]
    assert [line for pod, line in lines if pod.endswith("1")] == ["three"]
    assert said == [
        "sft-ab12cd: queued (Queueing)",
        "sft-ab12cd: running",
        "sft-ab12cd: succeeded (Completed)",
    ]


def test_the_pod_that_failed_first_is_the_one_that_counts() -> None:
    platform = FakePlatform([RUNNING, RUNNING, RUNNING, FAILED], {"p-1": [f"{EXIT_MARKER} p-1 exit code 3"]})
    follower, _, _ = _follow(platform)
    assert follower.run().failure == ("p-1", 3)


def test_a_platform_that_cannot_be_asked_is_asked_again() -> None:
    unreachable = Seen(JobState.UNREACHABLE)
    platform = FakePlatform([RUNNING, unreachable, unreachable, RUNNING, SUCCEEDED])
    follower, _, said = _follow(platform)
    assert follower.run().state is JobState.SUCCEEDED
    assert [line for line in said if "cannot be asked" in line] == [said[1]]


def test_an_unknown_state_is_no_end() -> None:
    platform = FakePlatform([Seen(JobState.UNKNOWN), Seen(JobState.LOST)])
    follower, _, _ = _follow(platform)
    assert follower.run().state is JobState.LOST
    assert platform.looks == 2


def test_output_that_cannot_be_read_does_not_end_the_job() -> None:
    platform = FakePlatform([RUNNING, RUNNING, RUNNING, SUCCEEDED], {"p-0": ["seen", "denied"]})
    follower, lines, _ = _follow(platform)
    assert follower.run().state is JobState.SUCCEEDED
    assert lines == [("p-0", "seen"), ("p-0", "its log cannot be read: no logs for you")]


def test_a_credential_that_is_not_accepted_is_told_at_once() -> None:
    message = "the token is not accepted"
    follower, _, _ = _follow(FakePlatform([RUNNING, DeniedError(message, status=401)]))
    with pytest.raises(DeniedError, match=message):
        follower.run()


def test_one_may_leave_before_the_end() -> None:
    follower, _, _ = _follow(FakePlatform([RUNNING]))
    threading.Timer(0.05, follower.leave).start()
    assert follower.run().state is JobState.RUNNING


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
    platform = StatePlatform(
        states=[JobState.SUCCEEDED], logs={"sft-abc123-worker-0": ["a", "b"], "sft-abc123-worker-1": ["c"]}
    )
    lines = list(log_lines(platform, JOB))
    assert sorted(lines) == ["[worker-0] a", "[worker-0] b", "[worker-1] c"]
    assert lines.index("[worker-0] a") < lines.index("[worker-0] b")


def test_workloads_that_are_shown_together_are_told_apart() -> None:
    platform = StatePlatform(states=[JobState.SUCCEEDED], logs={"sft-abc123-worker-0": ["a"]})
    assert list(log_lines(platform, JOB, "first")) == ["[first/worker-0] a"]


def test_a_job_that_never_started_has_an_empty_log() -> None:
    assert list(log_lines(StatePlatform(states=[JobState.QUEUED, JobState.CANCELLED]), JOB)) == []


def test_a_pod_that_comes_later_is_read_while_another_one_still_speaks() -> None:
    second_was_read = threading.Event()

    class Late(StatePlatform):
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
    for line in log_lines(platform, JOB):
        lines.append(line)
        if line == "[worker-0] last":
            platform.states = [JobState.FAILED]
    assert lines == ["[worker-0] first", "[worker-1] second", "[worker-0] last"]


def test_an_unreachable_platform_ends_nothing_and_a_log_that_is_refused_is_told() -> None:
    class Refusing(StatePlatform):
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
    assert list(log_lines(platform, JOB)) == [expected]


class Stuck(StatePlatform):
    """A platform whose logs never come, or whose pods are not listed."""

    listed = True

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        if not self.listed:
            message = "no list for you"
            raise DeniedError(message)
        return super().pods(workload)

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        assert (workload, pod) == (JOB, "sft-abc123-worker-0")
        threading.Event().wait()
        yield "never"


def test_a_log_that_never_ends_is_given_up_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemo_runspec.executors.follow.LAST_LINES_S", 0.01)
    platform = Stuck(states=[JobState.SUCCEEDED], logs={"sft-abc123-worker-0": []})
    (line,) = log_lines(platform, JOB)
    assert line.startswith("[worker-0] its log does not end")


def test_pods_that_are_never_listed_are_told() -> None:
    platform = Stuck(states=[JobState.SUCCEEDED], logs={})
    platform.listed = False
    said: list[str] = []
    Follower(platform, JOB, show=lambda _pod, _line: None, say=said.append).run()
    assert said[-1] == "sft-abc123: its pods cannot be listed, so no output is shown: no list for you"


@pytest.mark.parametrize(
    ("codes", "failure"),
    [
        ({"a": 143, "b": 7, "c": 1}, ("b", 7)),
        ({"a": 143, "b": 137}, ("b", 137)),
        ({"a": 143, "b": 0}, ("a", 143)),
        ({"a": 0}, None),
        ({}, None),
    ],
)
def test_a_pod_that_a_signal_has_ended_is_blamed_last(codes: dict[str, int], failure: tuple[str, int] | None) -> None:
    assert Ending(Seen(JobState.FAILED), codes).failure == failure
