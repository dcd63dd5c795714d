from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import JobFailedError, NemotronError, PayloadError, RefusedError
from nemo_runspec.executors.request import build_request
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.rehearsal import session
from nemo_runspec.rehearsal.report import Evidence
from nemo_runspec.submit.requests import cloud_job as as_sent
from nemotron.cli.stages import rehearse
from tests.nemotron.cli.clouds import cloud_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nemo_runspec.env import Profile
    from nemo_runspec.job import Job


@dataclass
class FakeRehearsal:
    """A rehearsal whose twin has received a body of the digest."""

    profile: Profile
    digest: str

    def evidence(self) -> Evidence:
        return Evidence(workloads_created=1, api_calls=4, body_sha256=self.digest)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", "canary-0123456789")
    return cloud_job(tmp_path, rehearse=True)


def _twin(
    monkeypatch: pytest.MonkeyPatch, digest: str, then: NemotronError | Callable[[], object] | None = None
) -> list[Path]:
    folders: list[Path] = []

    @contextmanager
    def begin(profile: Profile, *, folder: Path, with_master: bool) -> Iterator[FakeRehearsal]:
        assert with_master is False
        folders.append(folder)
        yield FakeRehearsal(profile, digest)

    def execute(job: Job, *, accepted: Any) -> None:  # noqa: ANN401 - a callback of execute_on_platform
        accepted(Submitted("lepton", "job", "x", job.spec.name), 1.5)
        if isinstance(then, NemotronError):
            raise then
        if then is not None:
            then()

    monkeypatch.setattr(session, "rehearse", begin)
    monkeypatch.setattr(rehearse, "execute_on_platform", execute)
    return folders


def test_a_rehearsal_proves_that_the_dry_run_tells_the_truth(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = build_request(as_sent(job))[0].digest
    folders = _twin(monkeypatch, digest)
    rehearse.rehearse_job(job)
    assert folders == [tmp_path / "output" / "rehearsal" / "far"]
    shown = capsys.readouterr()
    assert f"sha256 {digest}, the same as the dry-run's" in shown.out
    assert "instead of image:1, which is not pulled, they see this machine's Python environment" in shown.err


def test_another_body_than_the_dry_runs_is_an_error_that_names_what_has_changed(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _twin(monkeypatch, "f00", lambda: job.spec.script_path.with_name("new.py").touch())
    with pytest.raises(PayloadError, match=r"received a body with sha256 f00.*: script/new\.py changed meanwhile"):
        rehearse.rehearse_job(job)
    assert "not the dry-run's" in capsys.readouterr().out


@pytest.mark.parametrize("failure", [RefusedError("no such shape", status=400), JobFailedError("no", exit_code=7)])
def test_one_object_for_programs_also_when_it_fails(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: NemotronError
) -> None:
    _twin(monkeypatch, "f00", failure)
    as_json = replace(job, request=replace(job.request, as_json=True))
    with pytest.raises(type(failure)):
        rehearse.rehearse_job(as_json)
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == failure.exit_code
    assert told["same_as_dry_run"] is False


def test_a_job_that_fails_is_told_after_what_was_seen(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _twin(monkeypatch, "f00", JobFailedError("it failed", exit_code=7))
    with pytest.raises(JobFailedError, match="it failed"):
        rehearse.rehearse_job(job)
    assert "4, of which 1 made a workload" in capsys.readouterr().out
