"""Ray from a notebook, on this machine and with a scripted Lepton; submit/test_ray_commands.py has the other places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nemo_run
import pytest
from nemo_run.run.ray.cluster import RayCluster as StockCluster
from nemo_run.run.ray.job import RayJob as StockJob

from nemo_runspec import jobs, load_executor
from nemo_runspec.errors import ConfigError, JobFailedError, UsageError
from nemo_runspec.ray import RayCluster, RayJob
from nemo_runspec.submit import ray_commands
from tests.nemo_runspec.platforms.scripted import Reply, Scripted, scripted_server
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROFILES = f"""\
[here]
executor = "local"
[lepton]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
secrets = {{ LEPTON_WORKSPACE_TOKEN = "token" }}
[slurm]
executor = "slurm"
account = "research"
partition = "batch"
remote_job_dir = "/lustre/jobs"
"""
TEAM = "/rayclusters/team"
# In the place of a Ray, which takes a quarter of a minute to start: only the command.
WITHOUT_RAY = ("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nemo_run.config, "_NEMORUN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ray_commands, "ray_node", lambda _nodes, _gpus: WITHOUT_RAY)
    monkeypatch.setattr("nemo_runspec.executors.follow.FIRST_LOOK_S", 0.05)
    write_env_file(tmp_path, PROFILES)
    return tmp_path


def here(name: str = "count", **more: Any) -> RayJob:  # noqa: ANN401 - the fields of a job
    return RayJob(name=name, executor=load_executor("here"), **more)


def test_a_job_from_its_start_to_its_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = project / "work"
    work.mkdir()
    (work / "words.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    command = "cat words.txt; while [ ! -e go ]; do sleep 0.05; done"
    job = here(pre_ray_start_commands=["echo before"])
    assert isinstance(job, StockJob)
    job.start(command, work)
    assert job.status()["state"] in {"starting", "running"}
    here(pre_ray_start_commands=["echo before"]).start(command, work)
    assert len(list(jobs.own_journal().entries())) == 1, "it goes on, and is not started again"
    (work / "go").touch()
    capsys.readouterr()
    # Another one of the same name, as another process has it.
    told = here().wait()
    assert (told["state"], told["exit_code"], told["title"]) == ("succeeded", 0, "count")
    assert capsys.readouterr().out == "", "what it has printed is not shown again"
    here().logs(lines=2)
    assert capsys.readouterr().out == "two\nthree\n"
    here().logs(follow=True)
    assert capsys.readouterr().out == "before\none\ntwo\nthree\n"
    job.stop()
    assert "is succeeded, exit code 0" in capsys.readouterr().out


def test_a_failure_is_raised_with_the_commands_exit_code() -> None:
    job = here()
    job.start("exit 7")
    with pytest.raises(JobFailedError, match="count ended with exit code 7") as failed:
        job.wait()
    assert failed.value.exit_code == 7
    assert job.status(display=False)["exit_code"] == 7
    job.start("exit 7")
    assert len(list(jobs.own_journal().entries())) == 2, "one that has ended is started again"


def test_a_job_is_stopped_whatever_it_does() -> None:
    job = here()
    job.start("sleep 300")
    job.stop(wait=True)
    assert job.status(display=False)["state"] == "cancelled"
    with pytest.raises(JobFailedError, match="was cancelled"):
        job.wait()


def test_a_dry_run_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    here().start("true", dryrun=True)
    assert "count: would be sent to local as process" in capsys.readouterr().out
    assert list(jobs.own_journal().entries()) == []


def test_a_name_of_which_nothing_was_started_is_told_with_a_guess() -> None:
    here().start("true")
    here().wait()
    with pytest.raises(UsageError, match="no job 'coumt' was started from here on local") as unknown:
        here("coumt").status()
    assert "count" in str(unknown.value)


def test_what_cannot_be_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="takes no runtime_env_yaml"):
        here().start("true", runtime_env_yaml="env.yaml")
    with pytest.raises(ConfigError, match="clusters that outlive a job are Lepton's"):
        here(cluster_name="team")
    for kind in (RayJob, RayCluster):
        with pytest.raises(ConfigError, match=f"ray.{kind.__name__} takes an executor of this library"):
            kind(name="count", executor=nemo_run.DockerExecutor(container_image="image"))
    for profile, place in (("here", "this machine"), ("slurm", "slurm")):
        with pytest.raises(ConfigError, match=f"on {place} a Ray lives as long as its job"):
            RayCluster(name="team", executor=load_executor(profile))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted_server() as running:
        for name, value in {"ID": "w", "TOKEN": "token", "URL": running.url}.items():
            monkeypatch.setenv(f"LEPTON_WORKSPACE_{name}", value)
        monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path / "none"))
        monkeypatch.setattr("time.sleep", lambda _: None)
        groups = [{"metadata": {"id": "ng-1", "name": "group"}, "spec": {}, "status": {}}]
        running.script("GET /dedicated-node-groups", Reply(body=groups))
        running.script(f"GET {TEAM}/dashboard/api/jobs/", Reply(body=[]))
        yield running


def cluster(state: str, *, suspended: bool = False) -> Reply:
    return Reply(body={"metadata": {"id": "team"}, "spec": {"suspend": suspended}, "status": {"state": state}})


def team() -> RayCluster:
    return RayCluster(name="team", executor=load_executor("lepton", nodes=3))


def test_a_cluster_is_made_where_there_is_none(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(team(), StockCluster)
    server.script(f"GET {TEAM}", Reply(status=404), Reply(status=404), cluster("Ready"))
    server.script("POST /rayclusters", Reply(status=201))
    team().start(dryrun=True)
    assert "there is no such cluster" in capsys.readouterr().out
    team().start()
    (sent,) = (asked.json for asked in server.asked if asked.method == "POST")
    assert sent["metadata"]["name"] == "team"
    assert sent["spec"]["worker_group_specs"][0]["min_replicas"] == 2
    assert team().status()["state"] == "Ready"
    assert '"name": "team"' in capsys.readouterr().out


def test_a_cluster_that_is_suspended_is_started_again_and_suspended(server: Scripted) -> None:
    suspended, ready = cluster("Stopped", suspended=True), cluster("Ready")
    server.script(f"GET {TEAM}", suspended, ready, ready, ready, suspended)
    server.script(f"PATCH {TEAM}", Reply(body={}))
    team().start()
    team().stop()
    patches = [asked.json["spec"] for asked in server.asked if asked.method == "PATCH"]
    assert patches == [{"suspend": False}, {"suspend": True}]


def test_what_a_cluster_cannot_do_is_told(server: Scripted) -> None:
    with pytest.raises(ConfigError, match="run no commands before Ray"):
        team().start(pre_ray_start_commands=["true"])
    with pytest.raises(ConfigError, match="no port of the cluster 'team'") as told:
        team().port_forward()
    assert f"{TEAM}/dashboard" in str(told.value)
    with pytest.raises(UsageError, match="cannot be the name"):
        RayCluster(name="My Team", executor=load_executor("lepton"))
    assert server.lines == []
