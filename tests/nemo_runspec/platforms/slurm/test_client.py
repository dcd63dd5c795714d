"""A Slurm cluster as a platform: each question goes to the one who knows the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.slurm import status, stopping
from nemo_runspec.platforms.slurm.client import SlurmClient
from nemo_runspec.platforms.workload import JobState, Platform, Seen
from tests.nemo_runspec.platforms.slurm.queue import Queue
from tests.nemo_runspec.platforms.slurm.test_submission import IMPATIENT, JOB, request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_job_from_its_submission_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Queue(tmp_path / "bin", monkeypatch)
    home = tmp_path / "home"
    client: Platform = SlurmClient(LocalShell(), str(home), tmp_path / "sources", patience=IMPATIENT)
    job = client.submit(request(), JOB)
    assert client.find("job", JOB) == job
    log = home / "jobs" / JOB / "logs" / "task-0.0.log"
    log.write_text("hello\n", encoding="utf-8")
    seen = Seen(JobState.SUCCEEDED, exit_code=0)
    monkeypatch.setattr(status, "look", lambda *_, **__: seen)
    assert client.look(job) is seen
    pods = client.pods(job)
    assert len(pods) == 1
    assert list(client.log(job, pods[0])) == ["hello"]


def test_stopping_is_asked_of_the_same_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Queue(tmp_path / "bin", monkeypatch)
    asked: list[object] = []
    for name in ("cancel", "remove"):
        monkeypatch.setattr(stopping, name, lambda *words, name=name, **_: asked.append((name, *words[1:])))
    home = str(tmp_path / "home")
    client = SlurmClient(LocalShell(), home, tmp_path / "sources", patience=IMPATIENT)
    job = client.submit(request(), JOB)
    client.cancel(job)
    client.remove(job)
    client.close()
    assert asked == [("cancel", home, job), ("remove", home, job)]
