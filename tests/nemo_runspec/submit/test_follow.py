from __future__ import annotations

import threading

import pytest

from nemo_runspec.data_mover import EXIT_MARKER
from nemo_runspec.errors import DeniedError
from nemo_runspec.platforms.workload import JobState, Seen
from nemo_runspec.submit.follow import Follower
from tests.nemo_runspec.submit.platforms import FAILED, QUEUED, RUNNING, SUCCEEDED, WORKLOAD, FakePlatform


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemo_runspec.submit.follow.FIRST_LOOK_S", 0.001)


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
    platform = FakePlatform([Seen(JobState.UNKNOWN), Seen(JobState.GONE)])
    follower, _, _ = _follow(platform)
    assert follower.run().state is JobState.GONE
    assert platform.looks == 2


def test_output_that_cannot_be_read_does_not_end_the_job() -> None:
    platform = FakePlatform([RUNNING, RUNNING, RUNNING, SUCCEEDED], {"p-0": ["seen", "denied"]})
    follower, lines, said = _follow(platform)
    assert follower.run().state is JobState.SUCCEEDED
    assert lines == [("p-0", "seen")]
    assert "the output of p-0 cannot be read: no logs for you" in said


def test_a_credential_that_is_not_accepted_is_told_at_once() -> None:
    message = "the token is not accepted"
    follower, _, _ = _follow(FakePlatform([RUNNING, DeniedError(message, status=401)]))
    with pytest.raises(DeniedError, match=message):
        follower.run()


def test_one_may_leave_before_the_end() -> None:
    follower, _, _ = _follow(FakePlatform([RUNNING]))
    threading.Timer(0.05, follower.leave).start()
    assert follower.run().state is JobState.RUNNING
