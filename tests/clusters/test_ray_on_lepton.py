"""Ray on Lepton: clusters that are made for a job, clusters that outlive one, and what becomes of both.

The twin's pods run a real Ray, which takes a quarter of a minute to start; so most tests share one cluster.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.names import workload_name
from nemo_runspec.rehearsal.inventory import MOVER_SHAPE, LeptonInventory
from nemo_runspec.rehearsal.sandbox import Sandbox
from nemo_runspec.rehearsal.twin import Twin
from tests.clusters.places import cloud_project
from tests.clusters.projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

TEAM = "team"
VERSION = '\nray_version = "2.49.2"\ncontainer_image = "my/image:1"\n'
OWN_DISK = '{ path = "/", mount_path = "/mnt/own", from = "node-local" }'
OF_THE_HEAD = 'secrets = { LEPTON_WORKSPACE_TOKEN = "token" }'
LOOKS_AROUND = """\
import os, socket, sys
import ray

ray.init()

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Actor:
    def look(self):
        import nemo_runspec
        payload = ("NEMO_RUNSPEC_SRC", "NEMO_RUNSPEC_JOB_", "NEMO_RUNSPEC_POD", "NEMO_RUNSPEC_BOOT")
        left = [name for name in os.environ if name.startswith(payload) and name != "NEMO_RUNSPEC_JOB_DIR"]
        return socket.gethostname(), nemo_runspec.__file__, left

actors = [Actor.remote() for _ in range(2)]
for host, module, left in ray.get([actor.look.remote() for actor in actors]):
    print("actor on", host, "with", module, "and", left, flush=True)
print("configuration", sys.argv[2], os.path.exists(sys.argv[2]), flush=True)
"""
NOTEBOOK = """\
from nemo_runspec import load_executor
from nemo_runspec.errors import ConfigError, JobFailedError
from nemo_runspec.ray import RayCluster, RayJob

executor = load_executor("lepton", nodes=1, nemo_run_dir="/mnt/own/nemo_run")
job = RayJob(name="count", executor=executor, cluster_name="team", pre_ray_start_commands=["touch /tmp/before"])
for _ in range(2):
    job.start(command="python3 driver.py $((1 + 2))", workdir="work")
try:
    job.wait()
except JobFailedError as error:
    print("ENDED", error.exit_code, job.status(display=False)["state"])
job.logs(timeout=60)
print("CLUSTER", RayCluster(name="team", executor=executor).status(display=False)["state"])
"""
COUNTS = """\
import os, sys
import beside, ray

ray.init(log_to_driver=False)

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def look():
    return ray.get_runtime_context().get_node_id(), os.path.exists("/tmp/before")

found = set(ray.get([look.remote() for _ in range(8)]))
print("REPORT", all(prepared for _, prepared in found), beside.LINK, flush=True)
raise SystemExit(int(sys.argv[1]))
"""
STOCK = """\
import asyncio, sys
from ray.job_submission import JobSubmissionClient

client = JobSubmissionClient(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
job = client.submit_job(entrypoint="echo first; sleep 1; echo last")

async def tail():
    async for text in client.tail_job_logs(job):
        print(text, end="")

asyncio.run(tail())
print(client.get_job_status(job).value)
"""


@dataclass(frozen=True)
class Workspace:
    """A twin with a cluster that outlives jobs."""

    project: Project
    twin: Twin
    token: str

    def ray(self, *words: str) -> tuple[int, str, str]:
        return self.project.run("ray", *words)

    def clusters(self) -> dict[str, str]:
        code, out, err = self.ray("list", "--json")
        assert code == 0, err
        return {one["name"]: one["state"] for one in json.loads(out)["clusters"]}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("ray")
    inventory = LeptonInventory(
        node_groups={"group": 8},
        shapes=frozenset({"cpu.large", MOVER_SHAPE}),
        volumes=frozenset({"node-nfs:shared"}),
        token="of-the-workspace",  # noqa: S106 - a twin's, and worth nothing elsewhere
        secrets=MappingProxyType({"token": "of-the-workspace"}),
    )
    with Twin(inventory, Sandbox(), folder / "twin") as twin:
        variables = {
            "LEPTON_WORKSPACE_ID": inventory.workspace_id,
            "LEPTON_WORKSPACE_TOKEN": inventory.token,
            "LEPTON_WORKSPACE_URL": twin.url,
            "LEPTON_CACHE_DIR": str(folder / "empty"),
        }
        make = partial(cloud_project, environment=variables, places={'secrets = ["TEAM_API_KEY"]': OF_THE_HEAD})
        made = _with_ray(make(folder / "project"))
        found = Workspace(made, twin, inventory.token)
        code, out, err = found.ray("up", TEAM)
        assert code == 0, out + err
        assert "1 of 1 workers" in out
        yield found


def _with_ray(project: Project) -> Project:
    """Give a project whose nodes have a disk of their own and a Ray."""
    path = project.folder / "env.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("\ngpus_per_node = 0\n", f"\ngpus_per_node = 0{VERSION}", 1)
    path.write_text(text.replace("mounts = [", f"mounts = [{OWN_DISK}, ", 1), encoding="utf-8")
    return project


def test_a_cluster_of_that_name_is_made_once(workspace: Workspace) -> None:
    code, _, err = workspace.ray("up", TEAM)
    assert code == 2
    assert f"there is a Ray cluster '{TEAM}' already" in err
    assert workspace.clusters() == {TEAM: "Ready"}


def test_a_job_on_a_cluster_that_is_there(workspace: Workspace) -> None:
    script = workspace.project.script(LOOKS_AROUND, launch="ray")
    # No node sees another's disk, and each has to get the job.
    place = (f"run.env.existing_ray_cluster={TEAM}", "run.env.nodes=1", "run.env.nemo_run_dir=/mnt/own/nemo_run")
    code, out, err = workspace.project.run("run", script, "--run", "lepton", *place)
    assert code == 0, out + err
    actors = re.findall(r"actor on (\S+) with (\S+) and (.*)", out)
    assert sorted(host.rpartition("-")[0] for host, _, _ in actors) == [f"{TEAM}-head", f"{TEAM}-worker-0"]
    for _, module, left in actors:
        assert re.fullmatch(r"/mnt/own/nemo_run/jobs/mine-script-\w+/code/src/nemo_runspec/__init__.py", module)
        assert left == "[]"
    assert re.search(r"configuration /mnt/own/nemo_run/jobs/\S+/train.yaml True", out)
    assert workspace.clusters() == {TEAM: "Ready"}, "it is left as it was"
    assert [one.method for one in workspace.twin.requests if one.method == "PATCH"] == []


@pytest.mark.slow
def test_a_notebooks_job_on_a_cluster_that_is_there(workspace: Workspace) -> None:
    project = workspace.project
    (project.folder / "notebook.py").write_text(NOTEBOOK, encoding="utf-8")
    (project.folder / "work").mkdir()
    (project.folder / "work" / "driver.py").write_text(COUNTS, encoding="utf-8")
    # What a user writes is not rewritten, as the job's own files are.
    (project.folder / "work" / "beside.py").write_text("LINK = '/nemo_run/x'\n", encoding="utf-8")
    code, out, err = project.run(program="notebook")
    assert code == 0, out + err
    assert "ENDED 3 failed" in out, out + err
    assert "REPORT True /nemo_run/x" in out, out + err
    assert err.count("the same job was submitted before") == 1
    assert "CLUSTER Ready" in out


def test_a_command_on_a_cluster_ends_with_its_exit_code(workspace: Workspace) -> None:
    program = "import os; print('on', os.environ['HOSTNAME'], os.environ['RAY_ADDRESS']); raise SystemExit(3)"
    code, out, err = workspace.ray("attach", TEAM, "--", "python3", "-c", program)
    assert code == 3, out + err
    assert re.search(rf"on {TEAM}-head-\w+ \S+:6379", out)
    assert "is failed, exit code 3" in err


def test_rays_own_client_gets_through_with_websockets(workspace: Workspace) -> None:
    address = f"{workspace.twin.url}/rayclusters/{TEAM}/dashboard"
    command = [sys.executable, "-c", STOCK, address, workspace.token]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if " " not in line] == ["first", "last", "SUCCEEDED"]


def test_a_cluster_ends_itself_and_is_deleted(workspace: Workspace) -> None:
    code, out, err = workspace.ray("attach", TEAM, "--ttl", "2s")
    assert code == 0, out + err
    code, _, err = workspace.ray("down", TEAM)  # waits for the end, whoever has asked for it
    assert code == 0, err
    asked = [one for one in workspace.twin.requests if one.method == "PATCH"]
    assert asked[0].body == {"spec": {"suspend": True}}
    assert workspace.clusters() == {TEAM: "Stopped"}
    code, out, err = workspace.ray("down", TEAM, "--delete")
    assert (code, out) == (0, f"{TEAM} is deleted\n"), err
    assert workspace.clusters() == {}


def test_an_interruption_before_the_cluster_is_ready_leaves_none(workspace: Workspace) -> None:
    script = workspace.project.script(LOOKS_AROUND, launch="ray")
    process = workspace.project.start("run", script, "--run", "lepton")
    assert process.stderr is not None
    assert any("the Ray cluster is" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted before its driver was started" in err
    states = workspace.clusters()
    assert list(states.values()) == ["Stopped"]
    code, out, _ = workspace.project.run("jobs", "list", "--json")
    jobs = [job for job in json.loads(out)["jobs"] if job["key"] in states]
    assert (code, [job["state"] for job in jobs]) == (0, ["cancelled"])


def test_a_job_that_nobody_waits_for_needs_a_head_that_can_end_it(workspace: Workspace, tmp_path: Path) -> None:
    project = _with_ray(Project.make(tmp_path / "project", workspace.project.environment))
    code, _, err = project.run("run", project.script("", launch="ray"), "--batch", "lepton")
    assert code != 0
    assert 'secrets = { LEPTON_WORKSPACE_TOKEN = "SECRET" }' in err


def test_a_cluster_of_ones_own_ends_with_its_job(tmp_path: Path) -> None:
    project = _with_ray(Project.make(tmp_path / "project"))
    script = project.script(f"{LOOKS_AROUND}raise SystemExit(7)", launch="ray")
    code, out, err = project.run("run", script, "--run", "lepton", "--rehearse")
    assert code == 7, out + err
    name = workload_name("mine-script", "000000", None).removesuffix("000000")
    assert len(re.findall(rf"actor on {name}\w+-(?:head|worker-0)-\w+ with \S+ and \[\]", out)) == 2
    assert "the same as the dry-run's" in out
    assert re.search(rf"job failed: mine/script ended with exit code 7 as {name}\w+", err)
    log = (project.folder / "output" / "rehearsal" / "lepton" / "requests.jsonl").read_text(encoding="utf-8")
    asked = [json.loads(line) for line in log.splitlines()]
    assert [one["body"] for one in asked if one["method"] == "PATCH"] == [{"spec": {"suspend": True}}]
    assert [one["path"] for one in asked if one["method"] == "POST" and "dashboard" not in one["path"]] == [
        "/api/v2/workspaces/rehearsal/rayclusters"
    ]


WAITS = """\
import time
import ray

ray.init()
print("it waits", flush=True)
time.sleep(300)
"""


@pytest.mark.slow
def test_a_head_that_is_lost_fails_the_job_and_leaves_no_cluster(tmp_path: Path) -> None:
    project = _with_ray(Project.make(tmp_path / "project"))
    process = project.start("run", project.script(WAITS, launch="ray"), "--run", "lepton", "--rehearse")
    assert process.stdout is not None
    assert any("it waits" in line for line in process.stdout)
    (store,) = _processes_of_a_head("gcs_server")
    os.kill(store, signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 75, out + err
    assert "the head was started again" in err
    assert _processes_of_a_head("gcs_server") == []
    log = (project.folder / "output" / "rehearsal" / "lepton" / "requests.jsonl").read_text(encoding="utf-8")
    assert '"body": {"spec": {"suspend": true}}' in log


def _processes_of_a_head(program: str) -> list[int]:
    """Give the processes of a program in the heads of this test's clusters."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line, environ = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is no process
        if program.encode() in line and b"HOSTNAME=mine-script-" in environ and b"-head-" in environ:
            found.append(int(folder.name))
    return found
