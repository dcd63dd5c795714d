from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.submit import detached, experiment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from nemo_run import Executor


def test_the_client_runs_the_script_with_the_processes_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Path, int]] = []

    def run(name: str, script: Path, executor: Executor) -> None:
        calls.append((name, script, executor.nproc_per_node()))

    monkeypatch.setattr(experiment, "run_experiment", run)
    detached.main("nano3/sft", str(tmp_path / "launch.sh"), "3")
    assert calls == [("nano3/sft", tmp_path / "launch.sh", 3)]
