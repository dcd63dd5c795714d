"""nemo-run's own executors can be measured on the twins: they find every route that they call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.nemo_runspec.rehearsal.plain_pods import LEPTON, RUNAI, new_twin

SCRIPT = Path(__file__).with_name("stock_nemo_run.py")


def test_nemo_runs_own_executors_move_data_and_run_jobs(tmp_path: Path) -> None:
    lepton, _ = new_twin(tmp_path / "twin-of-lepton", LEPTON)
    runai, _ = new_twin(tmp_path / "twin-of-runai", RUNAI)
    for name in ("lepton", "runai"):
        (tmp_path / name).mkdir()
    with lepton, runai:
        environment = {
            "LEPTON_WORKSPACE_ID": LEPTON.workspace_id,
            "LEPTON_WORKSPACE_TOKEN": LEPTON.token,
            "LEPTON_WORKSPACE_URL": lepton.url,
            "LEPTON_CACHE_DIR": str(tmp_path / "cache"),
            "NEMORUN_HOME": str(tmp_path / "home"),
            "HOME": str(tmp_path),
            "NO_PROXY": "127.0.0.1",
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path), runai.url, RUNAI.client_secret]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == [["stock-job", "Completed"], [202, "1002", "Completed"]]
        movers = [seen.name.rpartition("-")[0] for seen in (lepton.workloads[0], runai.workloads[0])]
        logs = [pod.log.read_text(encoding="utf-8") for twin in (lepton, runai) for pod in twin.workloads[1].pods]
        names = [pod.name for twin in (lepton, runai) for pod in twin.workloads[1].pods]
    assert movers == ["data-mover", "data-mover"]
    assert logs == [f"trained on {name} with x\n" for name in names]
    assert len(names) == 4
    assert not [request for request in (*lepton.requests, *runai.requests) if request.status >= 400]
