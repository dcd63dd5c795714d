"""The patches of nemo-run that need a cluster: rsync against a real sshd, and its Ray template on a real Slurm."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest
from invoke.exceptions import UnexpectedExit
from nemo_run.core.tunnel import rsync as stock
from nemo_run.core.tunnel.client import SSHTunnel

from nemo_runspec import patches
from tests.clusters.beds.processes import wait_until
from tests.clusters.cluster_projects import EMPTY_IMAGE, SITE, SYSTEM, Interpreter, slurm_project
from tests.clusters.projects import SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

STOCK_RAY: Final = """\
import json, sys
import nemo_run
from nemo_run.run.ray.job import RayJob
from nemo_runspec.run import patch_nemo_run_ray_template_for_cpu

given = json.loads(sys.argv[1])
# What Ray finds by itself may be another one of this machine.
command = f"python driver.py {given['job_dir']}/fresh/ray_cluster_info.json"
tunnel = nemo_run.LocalTunnel(job_dir=given.pop("job_dir"))
executor = nemo_run.SlurmExecutor(tunnel=tunnel, nodes=2, ntasks_per_node=1, exclusive=True, mem="0", **given)
patch_nemo_run_ray_template_for_cpu()
RayJob(name="fresh", executor=executor).start(command=command, workdir="work")
"""
STOCK_DRIVER: Final = """\
import json, sys
import ray
told = json.load(open(sys.argv[1]))
ray.init(address=told["head_ip"] + ":" + told["port"], log_to_driver=False)
@ray.remote(num_cpus=0, resources={"worker_units": 1})
class Worker:
    def node(self):
        return ray.get_runtime_context().get_node_id()
workers = [Worker.remote() for _ in range(2)]
print("REPORT", len(set(ray.get([worker.node.remote() for worker in workers]))), flush=True)
"""
# Slurm 22.05 knows no --json: the one thing that the template asks for so.
JSON: Final = """\
scontrol() {
  [ "${@: -1}" != --json ] || { echo '{"jobs": [{"current_working_directory": "/tmp"}]}'; return; }
  command scontrol "$@"
}"""


@pytest.fixture
def connection(sshd: SshBed, tmp_path: Path) -> Iterator[Any]:
    """Give the connection of nemo-run's own tunnel."""
    tunnel = SSHTunnel(
        host=sshd.host, user=sshd.user, port=sshd.port, identity=str(sshd.identity), job_dir=str(tmp_path)
    )
    tunnel.connect()
    tunnel.session.config.run.in_stream = False  # it would read pytest's own standard input
    yield tunnel.session
    tunnel.cleanup()
    gc.collect()  # here, where a warning about invoke's pipes is expected


@pytest.fixture(autouse=True)
def _unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in map(import_module, patches.RSYNC_MODULES):
        monkeypatch.setattr(module, "rsync", module.rsync)


def send(connection: Any, tmp_path: Path, slurm: SlurmBed, known_hosts: Path) -> None:  # noqa: ANN401 - fabric ships no types
    """Let nemo-run send a folder, with a file of known hosts of the test's own."""
    (tmp_path / "exp").mkdir(exist_ok=True)
    (tmp_path / "exp" / "file").write_text("sent", encoding="utf-8")
    options = f"-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null"
    stock.rsync(connection, str(tmp_path / "exp"), str(slurm.work / "rsync"), ssh_opts=options)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # invoke leaves its pipes open
def test_a_new_host_stops_nemo_run_and_with_the_patch_is_remembered(
    connection: Any,  # noqa: ANN401 - fabric ships no types
    tmp_path: Path,
    slurm: SlurmBed,
    sshd: SshBed,
) -> None:
    known_hosts = tmp_path / "known_hosts"
    with pytest.raises(UnexpectedExit, match="Host key verification failed"):
        send(connection, tmp_path, slurm, known_hosts)
    patches.patch_nemo_run_rsync_accept_new_host_keys()
    send(connection, tmp_path, slurm, known_hosts)
    assert (slurm.work / "rsync" / "exp" / "file").read_text(encoding="utf-8") == "sent"
    assert sshd.host_key.split()[1] in known_hosts.read_text(encoding="utf-8")
    # A key that is another one than last time is refused all the same.
    changed = sshd.known_hosts_after_change.read_text(encoding="utf-8")
    known_hosts.write_text(changed, encoding="utf-8")
    with pytest.raises(UnexpectedExit, match="has changed and you have requested strict checking"):
        send(connection, tmp_path, slurm, known_hosts)


@pytest.mark.slow
def test_nemo_runs_own_ray_runs_on_nodes_without_gpus(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> None:
    project = slurm_project(tmp_path / "project", slurm, sshd)
    # The template prints the whole environment into its logs, which other tests search for secrets.
    project = replace(project, environment={**project.environment, SECRET_VARIABLE: ""})
    python = Interpreter.make(slurm.folder / "python")
    ray = python.folder / "ray"
    ray.write_text('#!/bin/sh\nexec python -m ray.scripts.scripts "$@"\n', encoding="ascii")
    ray.chmod(0o755)
    (project.folder / "work").mkdir()
    (project.folder / "work" / "driver.py").write_text(STOCK_DRIVER, encoding="utf-8")
    (project.folder / "notebook.py").write_text(STOCK_RAY, encoding="utf-8")
    folder = slurm.work / "stock"
    given = {
        "account": "research",
        "partition": "batch",
        "time": "00:10:00",
        "job_dir": str(folder),
        "container_image": EMPTY_IMAGE,
        "container_mounts": [f"{path}:{path}:ro" for path in (*SYSTEM, SITE, str(python.folder))],
        "env_vars": {"PATH": python.path, "PYTHONPATH": SITE},
        "setup_lines": JSON,
    }
    code, out, err = project.run(json.dumps(given), program="notebook")
    assert code == 0, out + err
    log = folder / "fresh" / "logs" / "ray-job.log"
    wait_until(lambda: log.exists() and "REPORT" in log.read_text(encoding="utf-8"), 120, "the driver's output")
    assert "REPORT 2" in log.read_text(encoding="utf-8"), "on both nodes"
    for job in slurm.jobs():
        slurm.run("scancel", job["id"], user="root")
