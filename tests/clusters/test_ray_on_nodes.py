"""Ray that a job starts itself on its nodes: on a real Slurm of two nodes, and in the pods of the run:ai twin.

Rows 27 of the fault matrix: a node with Ray's head or with its workers is lost.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.clusters.beds.processes import wait_until
from tests.clusters.cluster_projects import TOLD_S, remote_home, reports, slurm_project
from tests.clusters.projects import Project

if TYPE_CHECKING:
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

pytestmark = pytest.mark.slow

DRIVER: Final = """\
import json, os, sys, time
import ray
ray.init(log_to_driver=False, configure_logging=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Worker:
    def seen(self):
        import re
        left = sorted(name for name in os.environ if re.fullmatch(r"NEMO_RUNSPEC_(SRC_.*|JOB_[0-9]+|BOOT|POD)", name))
        return {"node": ray.get_runtime_context().get_node_id(), "transport": left}
workers = [Worker.remote() for _ in range(2)]
seen = ray.get([worker.seen.remote() for worker in workers])
resources = ray.cluster_resources()
print("REPORT", json.dumps({"seen": seen, "gpus": resources.get("GPU", 0), "nodes": len(ray.nodes())}), flush=True)
time.sleep(%d)
sys.exit(%d)
"""
NOTEBOOK: Final = """\
import sys
from nemo_runspec import load_executor
from nemo_runspec.errors import JobFailedError
from nemo_runspec.ray import RayJob

job = RayJob(name="count", executor=load_executor(sys.argv[1], nodes=2))
if sys.argv[2] == "start":
    for _ in range(2):
        job.start(command="python driver.py", workdir="work", pre_ray_start_commands=["export BEFORE=yes"])
else:
    try:
        job.wait()
    except JobFailedError as error:
        print("ENDED", error.exit_code, job.status(display=False)["state"])
    job.logs(timeout=60)
"""
REHEARSED: Final = """\
from pathlib import Path
from nemo_runspec import load_executor
from nemo_runspec.env import load_env_profile
from nemo_runspec.errors import JobFailedError
from nemo_runspec.rehearsal.session import rehearse
from nemo_runspec.ray import RayJob

with rehearse(load_env_profile("dgxcloud"), folder=Path("rehearsal").absolute()) as rehearsal:
    found = rehearsal.profile
    led = {name: getattr(found, name) for name in ("base_url", "kube_apiserver_url", "client_secret")}
    executor = load_executor("dgxcloud", nodes=2, image="my/image:1", **led)
    job = RayJob(name="count", executor=executor)
    for _ in range(2):
        job.start(command="python driver.py", workdir="work", pre_ray_start_commands=["export BEFORE=yes"])
    try:
        job.wait()
    except JobFailedError as error:
        print("ENDED", error.exit_code, job.status(display=False)["state"])
    job.logs(timeout=60)
    evidence = rehearsal.evidence()
    print("WORKLOADS", evidence.workloads_created, [pod["exit_code"] for pod in evidence.pods])
"""
LOST_S: Final = 60
"""Within this time a job that has lost a node fails, and nothing of it runs any more."""

LOST: Final = 75


def assert_spread(output: str, *, gpus: int = 0) -> None:
    (told,) = reports(output)
    assert len({one["node"] for one in told["seen"]}) == 2, told
    assert [one["transport"] for one in told["seen"]] == [[], []]
    assert (told["nodes"], told["gpus"]) == (2, gpus)


def of_ray(slurm: SlurmBed) -> dict[int, str]:
    """Give the processes of a Ray that a job on the bed has started: jobs' variables name the bed's folder."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if not any("nemo-ray-" in word for word in words) and "nemo_runspec.ray_node" not in words:
                continue
            if os.fsencode(slurm.folder) in path.with_name("environ").read_bytes():
                found[int(path.parent.name)] = " ".join(words)
    return found


@pytest.fixture(scope="module")
def cluster(slurm: SlurmBed, sshd: SshBed, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return slurm_project(tmp_path_factory.mktemp("ray") / "project", slurm, sshd)


@pytest.mark.parametrize(("profile", "gpus"), [("ssh", 0), ("local-image", 2)])
def test_a_job_on_slurm_has_ray_on_all_of_its_nodes(slurm: SlurmBed, cluster: Project, profile: str, gpus: int) -> None:
    script = cluster.script(DRIVER % (0, 7), launch="ray")
    settings = ("run.env.nodes=2", f"run.env.gpus_per_node={gpus}")
    code, out, err = cluster.run("run", script, "--run", profile, *settings, "--new")
    assert code == 7, out + err
    assert_spread(out, gpus=2 * gpus)
    wait_until(lambda: not of_ray(slurm), 20, f"end of Ray: {of_ray(slurm)}")


@pytest.mark.parametrize("who", ["the head's", "a worker's"])
def test_row_27_a_node_of_ray_is_lost(slurm: SlurmBed, cluster: Project, who: str) -> None:
    script = cluster.script(DRIVER % (300, 0), launch="ray")
    with cluster.start("run", script, "--run", "ssh", "run.env.nodes=2", "--new") as command:
        assert command.stdout is not None
        assert any("REPORT" in line for line in command.stdout)
        rank = "0" if who == "the head's" else "1"
        (victim,) = (
            pid for pid, line in of_ray(slurm).items() if f"--node-rank {rank} " in line and "ray_node" in line
        )
        begin = time.monotonic()
        os.kill(victim, 9)
        out, err = command.communicate(timeout=TOLD_S + LOST_S)
    assert command.returncode not in (0, None), out + err
    assert time.monotonic() - begin < LOST_S
    wait_until(lambda: not of_ray(slurm), 20, f"end of Ray: {of_ray(slurm)}")
    wait_until(lambda: not [job for job in slurm.jobs() if job["state"] in {"RUNNING", "COMPLETING"}], 20, "its end")


def test_row_28_a_job_on_ray_is_cancelled_twice(slurm: SlurmBed, cluster: Project) -> None:
    script = cluster.script(DRIVER % (300, 0), launch="ray")
    with cluster.start("run", script, "--run", "ssh", "run.env.nodes=2", "--new") as command:
        assert command.stdout is not None
        assert any("REPORT" in line for line in command.stdout)
        (job,) = json.loads(cluster.run("jobs", "list", "--active", "--json")[1])["jobs"]
        answers = [cluster.run("jobs", "cancel", job["key"]) for _ in range(2)]
        out, err = command.communicate(timeout=TOLD_S)
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert command.returncode == 143, out + err
    wait_until(lambda: not of_ray(slurm), 20, f"end of Ray: {of_ray(slurm)}")


def test_two_rays_of_one_user_side_by_side(cluster: Project) -> None:
    script = cluster.script(DRIVER % (5, 0), launch="ray")
    settings = ("run.env.nodes=2", "--new")
    commands = [cluster.start("run", script, "--run", "ssh", *settings) for _ in range(2)]
    for command in commands:
        out, err = command.communicate(timeout=300)
        assert command.returncode == 0, out + err
        assert_spread(out)


def test_a_data_preparation_on_two_nodes_gives_the_bytes_of_one(slurm: SlurmBed, cluster: Project) -> None:
    folder = slurm.work / "texts"
    folder.mkdir(mode=0o755)
    lines = [
        json.dumps({"text": f"{number} is the number of this text. " * (number % 60 + 1)}) for number in range(400)
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "blend.json").write_text('{"datasets": [{"name": "texts", "path": "texts.jsonl", "weight": 1.0}]}')
    made = {}
    for nodes in (2, 1):
        workspace = remote_home(slurm, cluster) / f"prepared-{nodes}"
        settings = (f"run.env.workspace={workspace}", f"blend={folder}/blend.json", "shard_size=32KiB")
        small = ("tokenizer.vocab_size=400", f"run.env.nodes={nodes}")
        code, out, err = cluster.run(
            "nano3", "data", "prep", "pretrain", "-c", "tiny", *settings, *small, "--run", "ssh"
        )
        assert code == 0, out + err
        assert ("2 nodes" in out) == (nodes == 2), out
        store = workspace / "nano3/data_prep/pretrain/shards"
        files = (path for path in store.rglob("*") if path.is_file())
        made[nodes] = {path.relative_to(store): sha256(path.read_bytes()).hexdigest() for path in files}
    assert len({path.parts[0] for path in made[1]}) > 5
    assert made[2] == made[1]
    wait_until(lambda: not of_ray(slurm), 20, f"end of Ray: {of_ray(slurm)}")


def notebook(project: Project, text: str) -> None:
    """Write a program of the user's own, and beside it the folder that its jobs bring."""
    (project.folder / "notebook.py").write_text(text, encoding="utf-8")
    work = project.folder / "work"
    work.mkdir()
    (work / "beside.py").write_text("import os\nassert os.environ['BEFORE'] == 'yes'\n", encoding="utf-8")
    (work / "driver.py").write_text("import beside\n" + DRIVER % (0, 7), encoding="utf-8")


def test_a_notebooks_job_is_found_by_its_name_from_another_process(slurm: SlurmBed, cluster: Project) -> None:
    notebook(cluster, NOTEBOOK)
    code, out, err = cluster.run("ssh", "start", program="notebook")
    assert code == 0, out + err
    assert len(set(out.splitlines())) == 1, "it goes on, and is not submitted again"
    code, out, err = cluster.run("ssh", "wait", program="notebook")
    assert code == 0, out + err
    assert "ENDED 7 failed" in out, out + err
    assert_spread(out)
    wait_until(lambda: not slurm.leftovers(), 20, "end of Ray on the nodes")


def test_a_notebooks_job_rehearsed_on_dgxcloud(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "project")
    notebook(project, REHEARSED)
    code, out, err = project.run(program="notebook")
    assert code == 0, out + err
    assert "ENDED 7 failed" in out, out + err
    assert_spread(out)
    assert "WORKLOADS 1 [7, 7]" in out, out + err


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_pods_of_a_job_on_dgxcloud_form_a_ray(tmp_path: Path, nodes: int) -> None:
    project = Project.make(tmp_path / "project")
    body = DRIVER % (0, 7)
    script = project.script(body, launch="ray")
    code, out, err = project.run("run", script, "--run", "dgxcloud", "--rehearse", f"run.env.nodes={nodes}", "--json")
    assert code == 7, out + err
    (told,) = reports(out)
    assert told["nodes"] == nodes
    assert [one["transport"] for one in told["seen"]] == [[], []]
    ended: dict[str, Any] = json.loads(out.splitlines()[-1])
    # Every pod ends with the driver's code.
    assert [pod["exit_code"] for pod in ended["pods"]] == [7] * nodes, ended
