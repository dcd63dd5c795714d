from __future__ import annotations

import pytest

from nemo_runspec.data_mover.pod import ray_watchdog
from nemo_runspec.data_mover.pod.ray_watchdog import TOKEN_VARIABLE, has_ended, main, suspended
from tests.nemo_runspec.platforms.scripted import Reply, scripted_server

CLUSTER = "/api/rayclusters/team"


class FakeTime:
    """A module `time` whose clock only moves when somebody waits."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def time(self) -> float:
        return self.clock[0]

    def sleep(self, seconds: float) -> None:
        self.clock[0] += max(seconds, 0.1)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock that only moves when the watchdog waits."""
    clock = [1000.0]
    monkeypatch.setattr("nemo_runspec.data_mover.pod.ray_watchdog.time", FakeTime(clock))
    return clock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    answers: list[str] = []

    def answer(cluster: str, _origin: str) -> bool:
        answers.append(cluster)
        return len(answers) > 1

    monkeypatch.setattr(ray_watchdog, "suspended", answer)
    return answers


def test_it_waits_for_its_time_and_asks_until_it_is_heard(now: list[float], asked: list[str]) -> None:
    main(["--cluster", "c", "--until", "1060"])
    assert asked == ["c", "c"]
    assert 1060 <= now[0] < 1080


def test_it_waits_for_the_end_of_a_job_and_a_while_longer(
    now: list[float], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_watchdog, "has_ended", lambda job: job == "mine" and now[0] >= 1100)
    main(["--cluster", "c", "--after", "mine", "--linger", "50"])
    assert len(asked) == 2
    assert 1150 <= now[0] < 1175


def test_what_it_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "token-1")
    with scripted_server() as server:
        server.script(f"PATCH {CLUSTER}", Reply(status=503), Reply(body={}))
        assert not suspended(f"{server.url}{CLUSTER}", "")
        assert suspended(f"{server.url}{CLUSTER}", "https://o")
        sent = server.asked[-1]
        assert (sent.json, sent.headers["Authorization"]) == ({"spec": {"suspend": True}}, "Bearer token-1")
        assert sent.headers["Origin"] == "https://o"
        gone = server.url
    assert not suspended(f"{gone}{CLUSTER}", "")
    assert capsys.readouterr().out.startswith("the platform answers 503\nthe platform does not answer: ")


def test_only_a_job_that_says_so_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server() as server:
        monkeypatch.setattr(ray_watchdog, "DASHBOARD", server.url)
        for status in ("RUNNING", "STOPPED", "SUCCEEDED", "FAILED"):
            server.script(f"GET /api/jobs/{status}", Reply(body={"status": status}))
        assert [has_ended(job) for job in ("RUNNING", "STOPPED", "SUCCEEDED", "FAILED", "other")] == [
            False,
            True,
            True,
            True,
            False,
        ]
