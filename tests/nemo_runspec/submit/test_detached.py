from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.submit import detached, experiment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from nemo_run import Executor


def test_the_client_runs_the_job_with_the_processes_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Path, int]] = []

    def run(name: str, job_dir: Path, executor: Executor) -> None:
        calls.append((name, job_dir, executor.nproc_per_node()))

    monkeypatch.setattr(experiment, "run_experiment", run)
    detached.main("nano3/sft", str(tmp_path), "3")
    assert calls == [("nano3/sft", tmp_path, 3)]
