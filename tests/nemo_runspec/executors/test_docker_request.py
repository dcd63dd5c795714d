from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nemo_runspec.env import DockerProfile
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.docker_request import (
    DockerSettings,
    docker_request,
    docker_settings,
    jobs_home,
    mount_of,
    workspace_mounts,
)


def built(*names: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a request
    settings = DockerSettings(home="/data/jobs", image="image:1", nodes=more.pop("nodes", 1))
    launches = {name: f"echo {name}\n" for name in names or ("one",)}
    return dict(
        docker_request(settings, launches, **{"files": {}, "env": {}, "secrets": {}, "source": None, **more}).body
    )


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", ("/a", "/b", False)),
        ("/a:/b:ro", ("/a", "/b", True)),
        ("/a:/b:rw", ("/a", "/b", False)),
        ("~/a:/b", (str(Path("~/a").expanduser()), "/b", False)),
        ("$HERE/a:/b", ("/some where/a", "/b", False)),
        ("${HERE}a:/b", ("/some wherea", "/b", False)),
        ("/a$:/b", ("/a$", "/b", False)),
    ],
)
def test_a_mount_is_read(text: str, mount: tuple[str, str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/some where")
    assert mount_of(text) == mount


def test_a_folder_is_named_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mount_of("data:/b") == (str(tmp_path / "data"), "/b", False)


@pytest.mark.parametrize("text", ["/a", "/a:", ":/b", "/a:/b:rx", "/a:/b:ro:ro", ""])
def test_what_is_no_mount_is_refused(text: str) -> None:
    profile = DockerProfile(name="here")
    with pytest.raises(ProfileError, match=r"profile 'here': '.*' is no mount") as error:
        mount_of(text, profile)
    assert "SOURCE:TARGET" in (error.value.remedy or "")


def test_a_variable_that_is_not_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ProfileError, match="'/x/\\$NOWHERE:/b' names the variable NOWHERE, which is not set"):
        docker_settings(DockerProfile(name="here", mounts=("/x/$NOWHERE:/b",)), image="image:1")


def test_the_folder_for_results_is_mounted_unless_it_is_seen() -> None:
    assert workspace_mounts("/results", ()) == (("/results", "/results", False),)
    assert workspace_mounts("/data/results", (("/a", "/data", False),)) == ()
    assert workspace_mounts("/database", (("/a", "/data", False),)) == (("/database", "/database", False),)
    assert workspace_mounts("s3://bucket/x", ()) == ()
    assert workspace_mounts("", ()) == ()


def test_jobs_home_follows_nemo_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMORUN_HOME")
    assert jobs_home() == str(Path("~/.nemo_run/nemo_runspec/docker").expanduser())


def test_each_container_is_the_callers_and_has_the_source_first() -> None:
    (container,) = built(env={"PYTHONPATH": "/a", "NEMO_RUN_DIR": "/results"})["containers"]
    text = str(container)
    assert f"{os.getuid()}:{os.getgid()}" in text
    assert "/nemo_run/code/src:/a" in text
    assert "/results" in text
    assert "MASTER_PORT" not in text
    assert all("29500" in str(one) for one in built(nodes=2)["containers"])


def test_each_task_has_a_launch_script_of_its_own() -> None:
    two = built("a", "b")
    assert {"launch-0.sh", "launch-1.sh"} <= set(two["files"])
    assert len(two["containers"]) == 2


def test_secrets_are_no_part_of_the_body() -> None:
    assert "canary" not in str(built(secrets={"MY_TOKEN": "canary"}))
