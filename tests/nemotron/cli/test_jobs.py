from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from nemo_runspec.errors import NemotronError, UnreachableError, UsageError
from nemo_runspec.executors.file_lock import held
from nemo_runspec.executors.journal import Journal
from nemo_runspec.jobs import ending, looking, output, pruning
from nemo_runspec.platforms.workload import Cause, JobState, Seen
from nemotron.cli.jobs import app
from tests.nemo_runspec.jobs.places import Cluster, entry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "sft-aaaaaa"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEMORUN_HOME", str(tmp_path))
    made = Journal(tmp_path)
    monkeypatch.setattr("nemo_runspec.jobs.own_journal", lambda: made)
    return made


@pytest.fixture
def cluster(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    def connect(_platform: str, _connection: Mapping[str, str]) -> Cluster:
        return made

    for module in (ending, looking, output, pruning):
        monkeypatch.setattr(module, "connect", connect)
    journal.write(entry(KEY))
    made.states[KEY] = Seen(JobState.RUNNING, "RUNNING")
    return made


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(*arguments: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads(run(*arguments, "--json", code=code))


def failure(*arguments: str) -> NemotronError:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, NemotronError), result.output
    return result.exception


def test_the_list_is_a_table_with_the_newest_first(journal: Journal, cluster: Cluster) -> None:
    journal.write(entry("dpo-bbbbbb", job="", title="dpo", created="2026-01-01T00:00:00+00:00"))
    journal.write(entry("old-cccccc", state="failed", created="2025-01-01T00:00:00+00:00"))
    journal.change("old-cccccc", exit_code=3)
    lines = run("list").splitlines()
    assert lines[0].split() == ["KEY", "PROFILE", "CLUSTER:ID", "STATE", "AGE", "TITLE"]
    assert [line.split()[0] for line in lines[1:]] == [KEY, "dpo-bbbbbb", "old-cccccc"]
    assert lines[1].split()[1:5] == ["at-a", "(slurm)", "a:12", "running"]
    assert "failed 3" in lines[3]
    assert cluster.looks == 1
    assert [job["key"] for job in run_json("list", "--active")["jobs"]] == [KEY]
    assert run_json("list", "--profile", "none")["jobs"] == []
    assert "no such job among 3" in run("list", "--profile", "none")


@pytest.mark.usefixtures("journal")
def test_an_empty_list_says_where_it_looked() -> None:
    assert "no jobs were submitted from here" in run("list")


def test_a_state_that_cannot_be_told_ends_with_1(cluster: Cluster) -> None:
    assert run_json("status", KEY)["state"] == "running"
    cluster.failure = UnreachableError("no answer")
    assert run_json("status", KEY, code=1)["why"] == "no answer"
    assert "no answer" in run("status", KEY, code=1)


def test_a_state_is_told_with_its_reasons(cluster: Cluster) -> None:
    cluster.states[KEY] = Seen(JobState.FAILED, "NODE_FAIL", None, Cause.NODE, 2)
    told = run("status", KEY)
    for part in ("failed (NODE_FAIL)", "a node failed", "2 times", "slurm, a", "/h/jobs/sft-aaaaaa"):
        assert part in told


def test_output_is_shown_without_secrets(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "canary-0123456789")
    cluster.states[KEY] = Seen(JobState.SUCCEEDED)
    cluster.logs[KEY] = ["first", "it is canary-0123456789"]
    told = run("logs", KEY)
    assert told.splitlines()[0] == "first"
    assert "canary" not in told
    lines = [json.loads(line) for line in run("logs", KEY, "-f", "--json").splitlines()]
    assert lines[0] == {"pod": "task-0", "line": "first"}


def test_output_of_what_never_arrived_is_told(journal: Journal, cluster: Cluster) -> None:
    journal.change(KEY, id="")
    cluster.states.clear()
    error = failure("logs", KEY)
    assert (type(error), "it never arrived" in error.message) == (UsageError, True)


def test_a_job_that_is_being_submitted_has_no_output_yet(journal: Journal, cluster: Cluster) -> None:
    journal.change(KEY, id="", fingerprint="ab12")
    cluster.logs[KEY] = ["first"]
    with held(journal.locks / "ab12", deadline_s=1, what="submitting"):
        assert "(it is being submitted)" in run("status", KEY)
        error = failure("logs", KEY)
    assert (type(error), "is only being submitted: another process" in error.message) == (UnreachableError, True)


def test_ending_and_forgetting_a_job(journal: Journal, cluster: Cluster) -> None:
    assert run_json("cancel", "a:12")["state"] == "cancelled"
    assert run_json("cancel", KEY)["state"] == "cancelled"
    assert cluster.cancelled == [KEY]
    assert "no job is older" in run("prune")
    assert f"would remove {KEY} (cancelled)" in run("prune", "--older-than", "0s", "--dry-run")
    done = run_json("prune", "--older-than", "0d")
    assert done["dry_run"] is False
    assert [(one["key"], one["removed"], one["kept_because"]) for one in done["jobs"]] == [(KEY, True, None)]
    assert (cluster.removed, list(journal.entries())) == ([KEY], [])


def test_reattaching_ends_with_the_jobs_code(cluster: Cluster) -> None:
    cluster.states[KEY] = Seen(JobState.FAILED, exit_code=3)
    cluster.logs[KEY] = ["first"]
    assert failure("reattach", KEY).exit_code == 3
    cluster.states[KEY] = Seen(JobState.SUCCEEDED, exit_code=0)
    lines = run("reattach", KEY, "--json").splitlines()
    assert (lines[0], json.loads(lines[-1])["state"]) == ("first", "succeeded")


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1y"])
def test_an_age_has_a_number_and_a_unit(cluster: Cluster, age: str) -> None:
    assert cluster.removed == []
    assert "that is no age" in failure("prune", f"--older-than={age}").message
