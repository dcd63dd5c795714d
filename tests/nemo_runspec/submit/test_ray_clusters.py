from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.env import LeptonProfile, load_env_profile
from nemo_runspec.errors import ProfileError, RefusedError, UsageError
from nemo_runspec.submit import ray_clusters
from tests.nemo_runspec.platforms.scripted import Reply, Scripted, scripted_server
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUPS = Reply(body=[{"metadata": {"id": "ng-1", "name": "group"}, "spec": {}, "status": {}}])
PROFILES = f"""\
[lepton]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
env_vars = {{ TEAM = "blue" }}
secrets = {{ LEPTON_WORKSPACE_TOKEN = "token" }}
[keyed]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
secrets = ["TEAM_API_KEY"]
[imageless]
{LEPTON_TABLE}
[here]
executor = "local"
"""
TEAM = "/rayclusters/team"
JOBS = f"{TEAM}/dashboard/api/jobs/"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, PROFILES)
    with scripted_server() as running:
        for name, value in {"ID": "w", "TOKEN": "token", "URL": running.url}.items():
            monkeypatch.setenv(f"LEPTON_WORKSPACE_{name}", value)
        monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path / "none"))
        monkeypatch.setattr("time.sleep", lambda _: None)
        running.script("GET /dedicated-node-groups", GROUPS)
        yield running


def profile(name: str = "lepton") -> LeptonProfile:
    return ray_clusters.lepton_profile(name)


def cluster(state: str, *, suspended: bool = False) -> Reply:
    body = {"metadata": {"id": "team"}, "spec": {"suspend": suspended}, "status": {"state": state}}
    return Reply(body=body)


def up(name: str = "team", found: LeptonProfile | None = None, **options: Any) -> ray_clusters.RayCluster:  # noqa: ANN401 - those of up
    return ray_clusters.up(found or profile(), name, **{"nodes": None, "ttl_s": None, "say": lambda _: None, **options})


def test_a_cluster_is_made_of_the_profile(server: Scripted) -> None:
    server.script("POST /rayclusters", Reply(status=201))
    server.script(f"GET {TEAM}", cluster("Ready"))
    server.script(f"GET {JOBS}", Reply(body=[]))
    found = up(nodes=4)
    sent = next(asked.json for asked in server.asked if asked.method == "POST")
    assert sent["metadata"]["id"] == "team"
    assert sent["spec"]["worker_group_specs"][0]["min_replicas"] == 3
    envs = sent["spec"]["head_group_spec"]["envs"]
    assert {"name": "TEAM", "value": "blue"} in envs
    assert {"name": "LEPTON_WORKSPACE_TOKEN", "value_from": {"secret_name_ref": "token"}} in envs
    assert (found.running, found.until_s) == (0, None)


def test_a_time_to_live_is_a_job_of_the_cluster(server: Scripted) -> None:
    server.script("POST /rayclusters", Reply(status=201))
    server.script(f"GET {TEAM}", cluster("Ready"))
    old = {"submission_id": "ttl-old", "status": "RUNNING", "metadata": {"role": "ttl", "until": "99"}}
    other = {"submission_id": "mine", "status": "RUNNING", "metadata": {}}
    server.script(f"GET {JOBS}", Reply(body=[old, other]))
    server.script(f"POST {JOBS}ttl-old/stop", Reply(body={"stopped": True}))
    server.script(f"POST {JOBS}", Reply(body={"submission_id": "x"}))
    found = up(ttl_s=60)
    assert f"POST {JOBS}ttl-old/stop" in server.lines, "a time that was set before counts no more"
    sent = next(asked.json for asked in server.asked if asked.line == f"POST {JOBS}")
    assert sent["metadata"]["role"] == "ttl"
    assert (found.running, found.until_s) == (1, 99.0)


@pytest.mark.parametrize("name", ["Team", "a" * 37, "team-", "1st", "by-lepton", ""])
def test_names_that_the_platform_refuses(server: Scripted, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        up(name)
    assert server.lines == []


def test_what_is_missing_is_told_before_anything_is_made(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEAM_API_KEY", raising=False)
    with pytest.raises(ProfileError, match="takes TEAM_API_KEY from your environment"):
        up(found=profile("keyed"))
    with pytest.raises(ProfileError, match="--ttl needs the workspace's token"):
        up(found=profile("keyed"), ttl_s=60)
    with pytest.raises(ProfileError, match="names no container image"):
        up(found=profile("imageless"))
    with pytest.raises(UsageError, match="is for local"):
        profile("here")
    assert server.lines == []


def test_a_name_that_is_taken_leads_to_the_cluster(server: Scripted) -> None:
    server.script("POST /rayclusters", Reply(status=409, body={"message": "exists"}))
    with pytest.raises(RefusedError) as refused:
        up()
    assert "nemotron ray attach team" in str(refused.value)


def test_a_suspended_cluster_is_started_again(server: Scripted) -> None:
    server.script(f"GET {TEAM}", cluster("Stopped", suspended=True), cluster("Stopped"), cluster("Ready"))
    server.script(f"PATCH {TEAM}", Reply(body={}))
    server.script(f"GET {JOBS}", Reply(body=[]))
    ray_clusters.attach(profile(), "team", ttl_s=None, say=lambda _: None)
    assert [asked.json for asked in server.asked if asked.method == "PATCH"] == [{"spec": {"suspend": False}}]
    with pytest.raises(UsageError, match="no Ray cluster 'other'"):
        ray_clusters.attach(profile(), "other", ttl_s=None, say=lambda _: None)


def test_a_command_is_a_job_of_the_cluster(server: Scripted) -> None:
    server.script(f"POST {JOBS}", Reply(body={"submission_id": "x"}))
    workload = ray_clusters.run_on(ray_clusters.client_of("lepton"), "team", ["echo", "a b"])
    assert workload.id == f"team/{workload.name}"
    assert server.asked[-1].json["entrypoint"] == "echo 'a b'"


def test_a_cluster_is_suspended_or_deleted_and_waited_for(server: Scripted) -> None:
    server.script(f"GET {TEAM}", cluster("Ready"), cluster("Stopping"), cluster("Stopped"))
    server.script(f"PATCH {TEAM}", Reply(body={}))
    ray_clusters.down("lepton", "team", delete=False)
    assert server.lines[-1] == f"GET {TEAM}"
    server.script(f"DELETE {TEAM}", Reply(body={}))
    server.script(f"GET {TEAM}", cluster("Stopped"), Reply(status=404))
    ray_clusters.down("lepton", "team", delete=True)
    assert f"DELETE {TEAM}" in server.lines


def test_all_clusters_are_listed_also_one_that_does_not_answer(server: Scripted) -> None:
    rows = [
        {"metadata": {"id": name}, "spec": {}, "status": {"state": state}}
        for name, state in (("team", "Ready"), ("deaf", "Ready"), ("old", "Stopped"))
    ]
    server.script("GET /rayclusters", Reply(body=rows))
    server.script(f"GET {JOBS}", Reply(body=[{"submission_id": "a", "status": "RUNNING", "metadata": None}]))
    server.script("GET /rayclusters/deaf/dashboard/api/jobs/", Reply(status=404))
    found = ray_clusters.listed(ray_clusters.client_of("lepton"))
    assert [(one.cluster.name, one.running) for one in found] == [("team", 1), ("deaf", None), ("old", None)]
    assert found[0].as_data()["running_jobs"] == 1
    assert load_env_profile("lepton").executor == "lepton"
