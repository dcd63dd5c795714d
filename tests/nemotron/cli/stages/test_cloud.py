from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.context import Mode
from nemo_runspec.errors import ProfileError
from nemotron.cli import show_cloud
from nemotron.cli.stages import cloud
from tests.nemotron.cli.clouds import cloud_job

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.job import Job


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", "canary-0123456789")
    found: list[str] = []

    def execute(_: Job, **options: Any) -> None:  # noqa: ANN401 - execute_on_platform's own options
        found.append("detached" if options.get("detach") else "attached")

    monkeypatch.setattr(cloud, "execute_on_platform", execute)
    monkeypatch.setattr(cloud, "rehearse_job", lambda _: found.append("rehearsed"))
    monkeypatch.setattr(show_cloud, "submitted", lambda _: found.append("told"))
    return found


def test_the_command_line_decides_how_a_job_runs(tmp_path: Path, started: list[str]) -> None:
    cloud.run_in_pods(cloud_job(tmp_path))
    cloud.run_in_pods(cloud_job(tmp_path, mode=Mode.BATCH))
    cloud.run_in_pods(cloud_job(tmp_path, rehearse=True))
    assert started == ["attached", "detached", "told", "rehearsed"]


def test_what_keeps_a_job_from_starting_is_told_first(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEAM_API_KEY")
    with pytest.raises(ProfileError, match="takes TEAM_API_KEY from your environment"):
        cloud.run_in_pods(cloud_job(tmp_path, rehearse=True))
    assert started == []
