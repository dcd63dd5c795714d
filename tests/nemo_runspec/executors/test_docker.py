from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.env import DockerProfile
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.docker import create_docker_executor
from nemo_runspec.executors.platform import Task
from tests.nemo_runspec.executors.clusters import docker

TASKS = [Task("a", "true")]
PROFILE: dict[str, Any] = {
    "name": "here",
    "container_image": "image:1",
    "nodes": 2,
    "gpus_per_node": 3,
    "runtime": "nvidia",
    "ipc_mode": "host",
    "shm_size": "1g",
    "network": "mine",
    "mounts": ("/data:/data:ro", "$SOMEWHERE/x:/x"),
    "env_vars": {"A": "a b"},
    "workspace": "/results",
}


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "/some where")


def test_a_clone_is_the_same_executor() -> None:
    executor = create_docker_executor(DockerProfile(**PROFILE), env_vars={"B": "b"})
    clone = executor.clone()
    assert clone == executor
    assert type(clone) is type(executor)
    assert clone.request(TASKS).digest == executor.request(TASKS).digest


def test_everything_of_a_profile_is_a_setting() -> None:
    settings = create_docker_executor(DockerProfile(**PROFILE)).settings
    assert (settings.image, settings.nodes, settings.gpus) == ("image:1", 2, 3)
    assert settings.mounts == (("/data", "/data", True), ("/some where/x", "/x", False))
    given = (settings.runtime, settings.ipc_mode, settings.shm_size, settings.network)
    assert given == ("nvidia", "host", "1g", "mine")


def test_the_gpus_are_those_of_either_field() -> None:
    assert docker(num_gpus=2).settings.gpus == 2
    assert docker(num_gpus=2, gpus_per_node=4).settings.gpus == 4
    assert docker().settings.gpus == 0
    assert docker(gpus_per_node=4).nproc_per_node() == 4
    assert docker(nodes=3).nnodes() == 3


def test_jobs_are_beside_nemo_runs_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMORUN_HOME", "/somewhere/else")
    executor = create_docker_executor(DockerProfile(**PROFILE))
    assert executor.home == "/somewhere/else/nemo_runspec/docker"
    assert executor.connection == {"profile": "here", "home": executor.home}


def test_without_an_image_there_is_no_executor() -> None:
    with pytest.raises(ProfileError, match="profile 'here' names no container image") as error:
        create_docker_executor(DockerProfile(**{**PROFILE, "container_image": None}))
    assert 'load_executor("here", image=' in (error.value.remedy or "")


@pytest.mark.parametrize("field", ["privileged", "ulimits", "healthcheck", "additional_kwargs", "retries"])
def test_what_would_be_left_out_is_refused(field: str) -> None:
    given: Any = {"ulimits": ["memlock:-1"], "healthcheck": {"test": "true"}, "additional_kwargs": {"user": "me"}}
    with pytest.raises(ProfileError, match=f"takes no '{field}'") as error:
        docker(**{field: given.get(field, 1)})
    assert error.value.remedy
