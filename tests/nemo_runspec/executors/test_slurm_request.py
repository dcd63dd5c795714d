from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.env import SlurmProfile
from nemo_runspec.errors import ConfigError, ProfileError
from nemo_runspec.executors.slurm_request import (
    SlurmSettings,
    mounted,
    repositories,
    slurm_request,
    slurm_settings,
    task_labels,
)
from nemo_runspec.platforms.workload import NAME

COMMIT = "a" * 40
MOUNT = f"git+https://host.example/x.git@{COMMIT},/opt/x"


def settings(**fields: Any) -> SlurmSettings:  # noqa: ANN401 - fields of many types
    return SlurmSettings(**{"home": "/lustre/me/jobs", **fields})


def built(given: SlurmSettings, *names: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    launches = {name: f"echo {name}\n" for name in names or ("one",)}
    parts = {"files": {}, "env": {}, "secrets": {}, "source": None, **more}
    return dict(slurm_request(given, launches, **parts).body)


def test_a_container_sees_the_folders_that_every_job_needs() -> None:
    inside = settings(image="/i.sqsh", workspace="/lustre/me/results", mounts=("/data:/data:ro",))
    assert inside.seen == ("/data:/data:ro", "/lustre/me/jobs:/lustre/me/jobs", "/lustre/me/results:/lustre/me/results")
    assert (inside.folder, settings().folder) == ("/nemo_run", f"/lustre/me/jobs/jobs/{NAME}")


@pytest.mark.parametrize(
    ("workspace", "mounts", "seen"),
    [
        ("/lustre/me/jobs/workspace", (), ("/lustre/me/jobs:/lustre/me/jobs",)),
        ("/lustre/me/jobs2", (), ("/lustre/me/jobs:/lustre/me/jobs", "/lustre/me/jobs2:/lustre/me/jobs2")),
        ("/lustre/me", (), ("/lustre/me:/lustre/me",)),
        ("/lustre/me/results", ("/lustre:/lustre",), ("/lustre:/lustre",)),
        ("/lustre/me/results", ("/:/",), ("/:/",)),
        ("s3://bucket/x", ("/lustre",), ("/lustre",)),
        ("", (), ("/lustre/me/jobs:/lustre/me/jobs",)),
    ],
)
def test_nothing_is_mounted_twice(workspace: str, mounts: tuple[str, ...], seen: tuple[str, ...]) -> None:
    assert settings(image="/i.sqsh", workspace=workspace, mounts=mounts).seen == seen


def test_without_a_container_nothing_is_mounted() -> None:
    text = built(settings(workspace="/lustre/me/results"))["sbatch"]
    assert "container" not in text
    assert "mkdir -p -- /lustre/me/results" in text


def test_the_cache_of_models_is_shared_unless_somebody_says_otherwise() -> None:
    assert built(settings())["environment"]["HF_HOME"] == "/lustre/me/jobs/huggingface"
    assert built(settings(), env={"HF_HOME": "/mine"})["environment"]["HF_HOME"] == "/mine"


def test_the_source_comes_first_where_python_looks() -> None:
    own = f"/lustre/me/jobs/jobs/{NAME}/code/src"
    assert built(settings())["environment"]["PYTHONPATH"] == own
    assert built(settings(), env={"PYTHONPATH": "/a:/b"})["environment"]["PYTHONPATH"] == f"{own}:/a:/b"


def test_each_task_has_a_launch_script_of_its_own() -> None:
    assert "launch.sh" in built(settings())["files"]
    two = built(settings(), "a", "b")
    assert {"launch-0.sh", "launch-1.sh"} <= set(two["files"])
    assert "launch.sh" not in two["files"]
    assert "launch-0.sh" in two["sbatch"]


def test_a_task_may_be_called_anything() -> None:
    names = ("train v1.5", "train v1,5", "-", "x" * 80, "train-v1-5")
    labels = task_labels(names)
    assert list(labels) == list(names)
    assert list(labels.values()) == ["train-v1-5", "train-v1-5-1", "task", "x" * 50, "train-v1-5-4"]
    assert "launch-4.sh" in built(settings(), *names)["files"]


def test_secrets_and_dependencies_are_no_part_of_the_body() -> None:
    request = slurm_request(
        settings(), {"a": "true"}, files={}, env={}, secrets={"MY_TOKEN": "canary"}, source=None, after=["3", "4"]
    )
    assert (request.secrets, request.after) == ((("MY_TOKEN", "canary"),), ("3", "4"))
    assert "canary" not in str(request.body)
    other = slurm_request(settings(), {"a": "true"}, files={}, env={}, secrets={"MY_TOKEN": "x"}, source=None)
    assert request.digest == other.digest


def test_repositories_are_told_from_other_mounts() -> None:
    image = "registry.example/app:1"
    profile = SlurmProfile(name="x", mounts=("/data:/data", MOUNT), container_image=image, remote_job_dir="/jobs")
    assert repositories(profile) == [MOUNT]
    mount = mounted(MOUNT, "/jobs")
    assert mount.startswith("/jobs/clones/")
    assert mount.endswith(f"{COMMIT}:/opt/x")
    assert slurm_settings(profile, clones=[mount]).mounts == ("/data:/data", mount)


def test_a_repository_without_a_container_is_refused() -> None:
    profile = SlurmProfile(name="x", mounts=(MOUNT,), container_image="none", remote_job_dir="/jobs")
    with pytest.raises(ConfigError, match="container"):
        slurm_settings(profile)


def test_a_value_that_cannot_arrive_is_refused() -> None:
    with pytest.raises(ProfileError, match="time"):
        built(settings(flags={"time": "1\n#SBATCH --output=/x"}))
