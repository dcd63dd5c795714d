"""Measure what a rehearsal adds to the work of its pods: two pods that sleep, seen from the command's start to its end.

Each run rehearses a script that does nothing for a given time in two pods. What the command takes beyond that time is
the rehearsal's own: starting the twin, importing nemo-run, submitting, the pods' start, and the end.

    python benchmarks/rehearsal_overhead.py
    python benchmarks/rehearsal_overhead.py --runs 5 --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_S = 5.0
WORK_S = 2.0
CLOUDS = ("lepton", "dgxcloud")

ENV_FILE = """\
[lepton]
executor = "lepton"
nemo_run_dir = "/mnt/shared/nemo_run"
mounts = [{ path = "/", mount_path = "/mnt/shared", from = "node-nfs:shared" }]
node_group = "group"
resource_shape = "cpu.large"
container_image = "any:1"
nodes = 2
gpus_per_node = 0

[dgxcloud]
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "nemotron"
client_secret = "${oc.env:RUNAI_CLIENT_SECRET}"
project_name = "team"
pvc_nemo_run_dir = "/mnt/shared/nemo_run"
pvcs = [{ path = "/mnt/shared", claimName = "shared", existingPvc = true }]
container_image = "any:1"
nodes = 2
gpus_per_node = 0
"""

SCRIPT = f"""\
# /// script
# [tool.runspec]
# schema = "1"
# name = "sleep"
# [tool.runspec.run]
# launch = "direct"
# [tool.runspec.config]
# dir = "."
# default = "sleep"
# ///
import time
time.sleep({WORK_S})
"""


def rehearse(cloud: str, folder: Path) -> float:
    """Rehearse the script once and give the command's wall time in seconds.

    Args:
        cloud: The profile.
        folder: The project's folder.

    Raises:
        subprocess.CalledProcessError: The rehearsal failed, so that there is nothing to measure.
    """
    command = [sys.executable, "-m", "nemotron", "run", "sleep.py", "--run", cloud, "--rehearse", "run.env.nodes=2"]
    environment = {**os.environ, "HOME": str(folder)}
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


def measure(runs: int, folder: Path) -> dict[str, list[float]]:
    """Give the overhead of each run on each cloud in seconds, after one run that does not count."""
    (folder / "env.toml").write_text(ENV_FILE, encoding="utf-8")
    (folder / "sleep.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "sleep.yaml").write_text("run: {env: {}}\n", encoding="utf-8")
    rehearse(CLOUDS[0], folder)
    return {cloud: [rehearse(cloud, folder) - WORK_S for _ in range(runs)] for cloud in CLOUDS}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and give 1 when a rehearsal adds more than it may."""
    parser = argparse.ArgumentParser(description="Measure what a rehearsal adds to the work of its pods.")
    parser.add_argument("--runs", type=int, default=3, help="runs on each cloud (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.runs, Path(folder))
    middle = {cloud: statistics.median(seconds) for cloud, seconds in found.items()}
    met = all(seconds < LIMIT_S for seconds in middle.values())
    if options.json:
        print(json.dumps({"limit_s": LIMIT_S, "overhead_s": found, "median_s": middle, "met": met}))
        return 0 if met else 1
    print(f"{'cloud':<10} {'median (s)':>10} {'limit (s)':>10}   all runs (s)")
    for cloud, seconds in found.items():
        runs = " ".join(f"{value:.1f}" for value in seconds)
        print(f"{cloud:<10} {middle[cloud]:>10.1f} {LIMIT_S:>10.1f}   {runs}")
    print("pass" if met else "FAIL")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
