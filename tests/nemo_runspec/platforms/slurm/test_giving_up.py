"""Giving up a submission to Slurm: which of its calls end."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.slurm.submission import submit
from nemo_runspec.platforms.workload import NAME, Request
from tests.nemo_runspec.platforms.slurm.queue import Queue

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.platforms.shell import Answer


@pytest.mark.parametrize(("step", "jobs"), [("prepare", 0), ("submit", 1)])
def test_giving_up_ends_a_call_that_makes_no_job_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, jobs: int
) -> None:
    made = Request("slurm", "job", {}, files={"job.sbatch": (f"#SBATCH --job-name={NAME}\n".encode(), False)})
    given_up, real = threading.Event(), LocalShell.bash

    def bash(shell: LocalShell, script: Path, *words: str, **given: Any) -> Answer:  # noqa: ANN401 - as they are
        if script.stem == step:
            given_up.set()
        return real(shell, script, *words, **given)

    queue = Queue(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(LocalShell, "bash", bash)
    if step == "prepare":
        queue.program("df", "#!/bin/sh\nsleep 20\n")
    queue.fault("sleep 0.6")
    began = time.monotonic()
    token = ABANDONED.set(given_up)
    with nullcontext() if jobs else pytest.raises(AbandonedError):
        submit(LocalShell(), str(tmp_path / "home"), tmp_path / "sources", made, "a-job")
    ABANDONED.reset(token)
    assert (len(queue.jobs()), time.monotonic() - began < 15) == (jobs, True)
