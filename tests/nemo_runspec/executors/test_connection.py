from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import DeniedError, ProfileError, UnreachableError
from nemo_runspec.executors.connection import cluster_of, connect, kept, place_of
from nemo_runspec.executors.dgxcloud import DGXCloudExecutor
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.jobs import prune, status
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.runai import RunaiClient
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "${oc.env:RUNAI_SECRET}"
RUNAI = {
    "base_url": "https://team.example/api/v1",
    "kube_apiserver_url": "https://kube.example",
    "client_id": "app",
    "client_secret": REFERENCE,
    "project_name": "p",
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("LEPTON_WORKSPACE_ID", "ws")
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "canary")
    monkeypatch.setenv("LEPTON_WORKSPACE_URL", "http://127.0.0.1:9/api/v2/workspaces/ws")


def test_the_connection_of_an_executor_holds_no_secret() -> None:
    lepton = LeptonExecutor(profile="x", container_image="i", nemo_run_dir="/mnt/n")
    assert lepton.connection == {"profile": "x"}
    fields: dict[str, Any] = {**RUNAI, "pvc_nemo_run_dir": "/mnt/n"}
    cloud = DGXCloudExecutor(profile="x", container_image="i", **fields)
    assert cloud.connection == {"profile": "x", **RUNAI}


@pytest.mark.usefixtures("workspace")
def test_who_watches_a_job_has_the_client_that_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = connect("lepton", {"profile": "x"})
    assert isinstance(first, LeptonClient)
    assert connect("lepton", kept("lepton", {"profile": "x"}, first)) is first
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "another")
    assert connect("lepton", {"profile": "x"}) is not first
    cloud = connect("dgxcloud", {"profile": "x", **RUNAI})
    assert isinstance(cloud, RunaiClient)
    assert connect("dgxcloud", kept("dgxcloud", {"profile": "x", **RUNAI}, cloud)) is cloud


@pytest.mark.usefixtures("workspace")
def test_a_job_is_not_looked_for_in_another_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = kept("lepton", {"profile": "x"}, connect("lepton", {"profile": "x"}))
    assert "canary" not in str(connection)
    monkeypatch.setenv("LEPTON_WORKSPACE_URL", "http://127.0.0.1:9/api/v2/workspaces/other")
    with pytest.raises(ProfileError, match=r"workspaces/ws, and your environment leads to .*workspaces/other"):
        connect("lepton", connection)


@pytest.mark.usefixtures("workspace")
def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEPTON_WORKSPACE_TOKEN")
    with pytest.raises(DeniedError, match="no token"):
        connect("lepton", {"profile": "x"})


SLURM = {"profile": "s", "tunnel": "ssh", "host": "login", "port": "2222", "user": "me", "home": "/h"}
HERE = {"profile": "s", "tunnel": "local", "home": "/h"}
DOCKER = {"profile": "d", "home": "/h"}


def lead_to(cluster: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Slurm's programs here lead to a cluster, as SLURM_CONF does."""
    configuration = folder / f"{cluster}.conf"
    configuration.write_text(f"ClusterName={cluster}\n", encoding="utf-8")
    program = folder / "bin" / "scontrol"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", str(configuration))


def test_a_job_of_another_cluster_with_the_same_folders_cannot_be_asked_about_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to("alpha", tmp_path, monkeypatch)
    client = connect("slurm", HERE)
    on_alpha = kept("slurm", HERE, client)
    assert connect("slurm", on_alpha) is client
    lead_to("beta", tmp_path, monkeypatch)
    with pytest.raises(UnreachableError, match=r"is on the Slurm cluster 'alpha', and .* here lead to 'beta'"):
        connect("slurm", on_alpha)
    on_beta = kept("slurm", HERE, client)
    assert place_of("slurm", on_alpha) != place_of("slurm", on_beta)
    entry = Entry(platform="slurm", kind="job", name="sft-abc123", id="7", connection=on_alpha)
    journal = Journal(tmp_path)
    journal.write(entry)
    told = status(entry, journal)
    assert (told.seen.state, told.cluster, "cluster 'alpha'" in told.why) == (JobState.UNREACHABLE, "alpha", True)
    (pruned,) = prune(journal, older_than_s=0)
    assert not pruned.removed


def test_a_login_node_that_is_reached_through_ssh_is_not_asked_for_its_cluster() -> None:
    connection = {**SLURM, "host": "nobody.invalid"}
    assert kept("slurm", connection, connect("slurm", connection)) == connection


@pytest.mark.parametrize(
    ("platform", "connection", "client", "cluster"),
    [
        ("slurm", SLURM, "SlurmClient", "login"),
        ("slurm", HERE, "SlurmClient", "alpha"),
        ("docker", DOCKER, "DockerClient", socket.gethostname()),
        ("local", {"profile": "local"}, "LocalClient", socket.gethostname()),
    ],
)
def test_each_platform_has_its_client_and_a_name(
    platform: str,
    connection: dict[str, str],
    client: str,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lead_to("alpha", tmp_path, monkeypatch)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    made = connect(platform, connection)
    assert type(made).__name__ == client
    stored = kept(platform, connection, made)
    assert connect(platform, stored) is connect(platform, stored)
    assert cluster_of(platform, stored) == cluster
    assert stored.get("docker_host", "") == ("unix:///nowhere/docker.sock" if platform == "docker" else "")


@pytest.mark.parametrize("platform", ["docker", "local"])
def test_what_runs_on_another_machine_cannot_be_asked_about_here(platform: str) -> None:
    with pytest.raises(UnreachableError, match="was started on elsewhere"):
        connect(platform, {"profile": "x", "home": "/h", "machine": "elsewhere"})


def test_a_place_is_where_a_job_is_and_not_how_one_gets_there() -> None:
    assert place_of("slurm", SLURM) == {"host": "login", "port": "2222", "user": "me", "home": "/h", "cluster": ""}
    assert place_of("slurm", {**SLURM, "profile": "other", "identity": "/key"}) == place_of("slurm", SLURM)
    assert place_of("slurm", {**SLURM, "host": "other"}) != place_of("slurm", SLURM)
    assert cluster_of("dgxcloud", RUNAI) == "team.example/p"
    assert cluster_of("lepton", {"workspace_url": "https://x.example/api/v2/workspaces/ws"}) == "ws"
