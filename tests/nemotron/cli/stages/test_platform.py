from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.context import Mode
from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.workload import Submitted
from nemotron.cli import show
from nemotron.cli.stages import platform
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
        if "accepted" in options:
            options["accepted"](Submitted("lepton", "job", "id", "name"), 0.1)

    monkeypatch.setattr(platform, "execute_on_platform", execute)
    monkeypatch.setattr(platform, "rehearse_job", lambda _: found.append("rehearsed"))
    monkeypatch.setattr(show, "submitted", lambda _job, _workload: found.append("told"))
    return found


def test_the_command_line_decides_how_a_job_runs(tmp_path: Path, started: list[str]) -> None:
    platform.run_on_platform(cloud_job(tmp_path))
    platform.run_on_platform(cloud_job(tmp_path, mode=Mode.BATCH))
    platform.run_on_platform(cloud_job(tmp_path, rehearse=True))
    assert started == ["attached", "detached", "told", "rehearsed"]


def test_what_keeps_a_job_from_starting_is_told_first(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEAM_API_KEY")
    with pytest.raises(ProfileError, match="takes TEAM_API_KEY from your environment"):
        platform.run_on_platform(cloud_job(tmp_path, rehearse=True))
    assert started == []
