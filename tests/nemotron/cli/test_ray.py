from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from nemo_runspec.env.cloud_profiles import LeptonProfile
from nemo_runspec.errors import JobFailedError, NemotronError, UsageError
from nemo_runspec.platforms.ray_cluster import Cluster
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from nemo_runspec.submit import ray_clusters
from nemo_runspec.submit.ray_clusters import RayCluster
from nemotron.cli.ray import app
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILE = LeptonProfile(name="far", nemo_run_dir="/mnt/jobs")
TEAM = RayCluster(
    Cluster("team", "Ready", ready=1, wanted=1, created_s=1000.0, ray_version="2.49.2"), running=2, until_s=1300.0
)
OLD = RayCluster(Cluster("old", "Stopped", wanted=3))


class FakeClient(FakePlatform):
    """A workspace whose jobs end as the test says."""

    ending = Seen(JobState.SUCCEEDED)

    def look(self, workload: Submitted) -> Seen:
        del workload
        return self.ending


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Stand in for the workspace, and remember what it was asked."""
    found: list[tuple[str, Any]] = []
    client = FakeClient(logs={"driver": ["said"]})

    def remember(name: str, answer: Any) -> Callable[..., Any]:  # noqa: ANN401 - whatever the command gets
        def answered(*words: object, **options: object) -> object:
            found.append((name, (words, options)))
            return answer

        return answered

    workload = Submitted("lepton", "rayjob", "team/team-run-abc123", "team-run-abc123")
    answers = {
        "lepton_profile": PROFILE,
        "client_of": client,
        "up": TEAM,
        "listed": (TEAM, OLD),
        "attach": (client, TEAM),
        "run_on": workload,
        "down": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(ray_clusters, name, remember(name, answer))
    monkeypatch.setattr("time.time", lambda: 1240.0)
    return found


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


def raised(*arguments: str) -> NemotronError:
    error = CliRunner().invoke(app, list(arguments)).exception
    assert isinstance(error, NemotronError)
    return error


def test_up_makes_a_cluster_with_a_time_to_live(asked: list[tuple[str, Any]]) -> None:
    out = run("up", "team", "--nodes", "4", "--ttl", "2h", "-p", "far")
    assert asked[0] == ("lepton_profile", (("far",), {}))
    name, (words, options) = asked[1]
    assert (name, words, options["nodes"], options["ttl_s"]) == ("up", (PROFILE, "team"), 4, 7200)
    assert "Ready, 1 of 1 workers" in out
    assert 'existing_ray_cluster = "team"' in out


def test_list_shows_all(asked: list[tuple[str, Any]]) -> None:
    assert [line.split() for line in run("list").splitlines()] == [
        ["NAME", "STATE", "WORKERS", "RAY", "AGE", "JOBS", "ENDS", "IN"],
        ["team", "Ready", "1/1", "2.49.2", "4m", "2", "60s"],
        ["old", "Stopped", "0/3", "-", "-", "-", "-"],
    ]
    shown = json.loads(run("list", "--json"))
    assert [one["name"] for one in shown["clusters"]] == ["team", "old"]
    assert asked[:2] == [("lepton_profile", (("lepton",), {})), ("client_of", (("far",), {}))]


def test_attach_shows_a_cluster(asked: list[tuple[str, Any]]) -> None:
    assert json.loads(run("attach", "team", "--json"))["running_jobs"] == 2
    assert [name for name, _ in asked] == ["lepton_profile", "attach"]


def test_attach_runs_a_command_word_for_word(asked: list[tuple[str, Any]]) -> None:
    assert run("attach", "team", "--", "echo", "--json", "a b") == "said\n"
    assert asked[-1] == ("run_on", ((asked[-1][1][0][0], "team", ["echo", "--json", "a b"]), {}))


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Seen(JobState.FAILED, "FAILED", exit_code=3), 3),
        (Seen(JobState.FAILED, "FAILED"), 1),
        (Seen(JobState.CANCELLED, "STOPPED"), 143),
    ],
)
def test_attach_ends_as_the_job_does(
    asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, ending: Seen, code: int
) -> None:
    monkeypatch.setattr(FakeClient, "ending", ending)
    error = raised("attach", "team", "--job", "mine")
    assert isinstance(error, JobFailedError)
    assert error.exit_code == code
    assert "run_on" not in dict(asked)


def test_attach_to_a_job_starts_none(asked: list[tuple[str, Any]]) -> None:
    assert isinstance(raised("attach", "team", "--job", "mine", "--", "echo"), UsageError)
    assert asked == []


def test_down_suspends_or_deletes(asked: list[tuple[str, Any]]) -> None:
    assert run("down", "team") == "team is suspended\n"
    assert json.loads(run("down", "team", "--delete", "--json")) == {"name": "team", "done": "deleted"}
    assert [options["delete"] for name, (_, options) in asked if name == "down"] == [False, True]
