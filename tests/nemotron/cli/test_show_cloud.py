from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import Selection
from nemo_runspec.errors import JobFailedError
from nemo_runspec.executors.request import build_request
from nemo_runspec.rehearsal.report import Evidence
from nemo_runspec.submit.requests import cloud_job as as_sent
from nemotron.cli import show_cloud, show_platform
from tests.nemotron.cli.clouds import cloud_job, write_profiles

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-0123456789"
PODS: tuple[dict[str, str | int | None], ...] = (
    {"name": "hello-x-0", "exit_code": 0},
    {"name": "hello-x-1", "exit_code": 3},
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_499, "999.5 kB"), (1_250_000, "1.2 MB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert show_platform.size(count) == text


@pytest.mark.parametrize("profile", ["far", "runai"])
def test_a_request_is_shown_without_secrets_and_without_the_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str
) -> None:
    job = cloud_job(tmp_path, profile=profile)
    show_cloud.show_request(job)
    out = capsys.readouterr().out
    assert "<workload name>" in out
    assert "NEMO_RUNSPEC_POD" in out
    assert CANARY not in out
    assert max(map(len, out.splitlines())) < 3000, "no chunk of an archive is shown"
    if profile == "far":
        assert "value: '***'" in out
        assert "NEMO_RUNSPEC_SRC_0 to NEMO_RUNSPEC_SRC_" in out


def test_the_name_of_a_platforms_secret_is_shown_and_a_value_from_here_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-abcdefgh")
    write_profiles(tmp_path)
    text = (tmp_path / "env.toml").read_text(encoding="utf-8")
    table = 'secrets = { TEAM_API_KEY = "team-key" }\nenv_vars = { MY_TOKEN = "${oc.env:MY_TOKEN}" }'
    job = cloud_job(tmp_path, text=text.replace('secrets = ["TEAM_API_KEY"]', table))
    shown = json.dumps(show_cloud.submission(job)["request"])
    assert '"secret_name_ref": "team-key"' in shown
    assert "canary-abcdefgh" not in shown


def test_a_submission_as_data_has_what_is_known_before_sending(tmp_path: Path) -> None:
    job = cloud_job(tmp_path)
    told = show_cloud.submission(job)
    request, plan = build_request(as_sent(job))
    assert told["body_sha256"] == request.digest
    assert told["archive_sha256"] == plan.sha256
    assert told["raw_bytes"] == sum(size for _, size in plan.files)
    assert told["largest_value_bytes"] == 96 * 1024
    assert told["environment_bytes"] > told["encoded_bytes"]
    assert CANARY not in json.dumps(told)


def test_uncommitted_files_are_named_up_to_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = Selection((), left_out=("src/away",), unmatched=("docs/*",))
    show_platform.before_sending([f"src/{name}.py" for name in "abcdefg"], chosen)
    assert capsys.readouterr().err.splitlines() == [
        "travels with changes that are not committed: src/a.py, src/b.py, src/c.py, src/d.py, src/e.py and 2 more",
        "links that stay here: src/away",
        "exclude matches nothing with: docs/*",
    ]
    show_platform.before_sending([], Selection(()))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("same", [True, False])
def test_a_rehearsal_tells_what_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, same: bool) -> None:
    job = cloud_job(tmp_path, rehearse=True)
    request, plan = build_request(as_sent(job))
    digest = request.digest if same else "f00"
    evidence = Evidence(workloads_created=1, api_calls=9, body_sha256=digest, archive_sha256=plan.sha256, pods=PODS)
    show_cloud.rehearsed(job, request, plan, evidence, submit_seconds=1.0, failure=None)
    out = capsys.readouterr().out
    assert "9, of which 1 made a workload" in out
    assert "hello-x-0 exit code 0, hello-x-1 exit code 3" in out
    assert ("the same as the dry-run's" in out) is same
    assert ("not the dry-run's" in out) is not same


def test_a_rehearsal_in_which_nothing_was_made_claims_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = cloud_job(tmp_path, rehearse=True)
    request, plan = build_request(as_sent(job))
    evidence = Evidence(workloads_created=0, api_calls=2)
    show_cloud.rehearsed(job, request, plan, evidence, submit_seconds=0.0, failure=JobFailedError("no", exit_code=130))
    out = capsys.readouterr().out
    assert "nothing: no workload was made in 2 API calls" in out
    assert "dry-run" not in out


def test_a_rehearsal_ends_with_one_object_also_when_the_job_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = cloud_job(tmp_path, rehearse=True, as_json=True)
    request, plan = build_request(as_sent(job))
    evidence = Evidence(workloads_created=1, api_calls=9, body_sha256=request.digest, pods=PODS)
    failure = JobFailedError("no", exit_code=3)
    show_cloud.rehearsed(job, request, plan, evidence, submit_seconds=1.23456, failure=failure)
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 3
    assert told["submit_seconds"] == 1.235
    assert told["pods"] == list(PODS)
    assert {"workloads_created", "api_calls", "archive_sha256", "raw_bytes", "encoded_bytes"} < told.keys()
    assert {"largest_value_bytes", "environment_bytes"} < told.keys()
