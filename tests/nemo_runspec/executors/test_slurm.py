from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nemo_run.config import get_nemorun_home
from nemo_run.core.execution.launcher import Torchrun

from nemo_runspec.data_mover.packager import SourcePackager
from nemo_runspec.env import SlurmProfile
from nemo_runspec.errors import ConfigError, ProfileError
from nemo_runspec.executors import slurm as module
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.executors.platform import PlatformExecutor, Task
from nemo_runspec.executors.slurm import create_slurm_executor
from nemo_runspec.git_mounts import pin
from nemo_runspec.prepare.clones import clone_folder
from tests.nemo_runspec.executors.clusters import slurm
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "a" * 40
MOUNT = f"git+https://host.example/x.git@{COMMIT},/opt/x"
TASKS = [Task("a", "true")]
PROFILE: dict[str, Any] = {
    "name": "far",
    "account": "research",
    "partition": "batch",
    "time": "00:10:00",
    "nodes": 2,
    "gpus_per_node": 8,
    "ntasks_per_node": 8,
    "exclusive": True,
    "qos": "normal",
    "setup_lines": "module load x",
    "srun_args": ("--mpi=pmix",),
    "additional_parameters": {"mail_type": "FAIL"},
    "tunnel": "ssh",
    "host": "login.example",
    "port": 2222,
    "user": "me",
    "identity": "~/.ssh/id",
    "remote_job_dir": "/lustre/me/jobs/",
    "mounts": ("/data:/data", MOUNT),
    "container_image": "registry.example/app:1",
    "env_vars": {"A": "a b"},
    "workspace": "/lustre/me/results",
}


def test_a_clone_is_the_same_executor() -> None:
    executor = create_slurm_executor(SlurmProfile(**PROFILE), env_vars={"B": "b"}, launcher="torchrun")
    clone = executor.clone()
    assert clone == executor
    assert type(clone) is type(executor)
    assert clone.connection == executor.connection
    task = [Task("a", "true")]
    assert clone.request(task).digest == executor.request(task).digest


def test_everything_of_a_profile_reaches_the_script() -> None:
    text = create_slurm_executor(SlurmProfile(**PROFILE)).request(TASKS).body["sbatch"]
    for line in (
        "--account=research", "--partition=batch", "--time=00:10:00", "--nodes=2", "--gpus-per-node=8", "--exclusive",
        "--qos=normal", "--ntasks-per-node=8", "--mail-type=FAIL",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text, line
    assert "\nmodule load x\n" in text
    assert "--mpi=pmix" in text
    assert "/data:/data" in text
    assert f"{COMMIT}:/opt/x" in text
    assert "/lustre/me/jobs/images/registry.example-app-1" in text
    assert "/lustre/me/results:/lustre/me/results" in text


def test_a_launcher_starts_the_processes_of_its_node() -> None:
    executor = slurm(ntasks_per_node=8)
    assert executor.settings.tasks_per_node == 8
    assert executor.nproc_per_node() == 8
    executor.launcher = Torchrun()
    assert executor.settings.tasks_per_node == 1
    assert slurm(gpus_per_node=4, ntasks_per_node=8).nproc_per_node() == 4
    assert slurm(gpus_per_node=4, nprocs_per_node=2).nproc_per_node() == 2
    assert slurm(nodes=3).nnodes() == 3


def test_fields_that_only_nemo_run_has_are_flags_too() -> None:
    text = slurm(mem_per_gpu="4G", exclude="n1", signal="USR1@60").request(TASKS).body["sbatch"]
    for line in ("--mem-per-gpu=4G", "--exclude=n1", "--signal=USR1@60"):
        assert f"#SBATCH {line}\n" in text


@pytest.mark.parametrize("field", ["array", "heterogeneous", "memory_measure", "retries", "container_env"])
def test_what_would_be_left_out_is_refused(field: str) -> None:
    value: Any = {"array": "0-3", "retries": 1, "container_env": ["A"]}.get(field, True)
    with pytest.raises(ProfileError, match=f"takes no '{field}'") as error:
        slurm(**{field: value})
    assert error.value.remedy


def test_how_the_cluster_is_reached() -> None:
    assert slurm(profile="x").connection == {"profile": "x", "home": "/lustre/me/jobs", "tunnel": "local"}
    given = {"host": "h", "port": 2222, "user": "me", "identity": "/id", "known_hosts": "/k"}
    connection = slurm(**given, accept_new_host_keys=True).connection
    assert connection == {
        "profile": "",
        "home": "/lustre/me/jobs",
        "tunnel": "ssh",
        **{name: str(value) for name, value in given.items()},
        "accept_new": "true",
    }
    assert set(slurm(host="h").connection) == {"profile", "home", "tunnel", "host"}


def test_a_local_profile_needs_no_host() -> None:
    profile = SlurmProfile(name="here", tunnel="local", host="ignored.example", remote_job_dir="/jobs")
    assert create_slurm_executor(profile).connection == {"profile": "here", "home": "/jobs", "tunnel": "local"}


def test_paths_are_those_that_the_job_sees() -> None:
    outside, inside = slurm(), slurm(container_image="image:1")
    assert inside.path_of("/nemo_run/x") == "/nemo_run/x"
    assert outside.path_of("/nemo_run/x").startswith("/lustre/me/jobs/jobs/")
    assert outside.path_of("/nemo_run/x").endswith("/x")
    for word in ("/nemo_runner", "a/nemo_run", "--x=/nemo_run"):
        assert outside.path_of(word) == word


def test_a_job_waits_for_others_by_their_numbers() -> None:
    journal = Journal(get_nemorun_home())
    entry = Entry(
        platform="slurm", kind="job", name="before-abc123", title="before", experiment="", job_dir="", pod_job_dir="",
        digest="", connection={}, id="41",
    )  # fmt: skip
    journal.write(entry)
    try:
        executor = slurm(after=["7"], dependencies=[f"nemo_runspec_slurm://nemo_run/{entry.app_id}"])
        assert executor.request(TASKS).after == ("7", "41")
    finally:
        journal.forget(entry.name)


class Prepared:
    """What was asked for before a job is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[tuple[Any, ...]] = []
        self.options: list[dict[str, Any]] = []
        self.mounts: list[str] = []
        self.sent: list[Any] = []
        monkeypatch.setattr(module, "shell_of", lambda connection: connection)
        monkeypatch.setattr(module, "ensure_squashed_image", self._image)
        monkeypatch.setattr(module, "clone_git_repos_via_tunnel", self._clone)
        monkeypatch.setattr(PlatformExecutor, "submit", lambda executor, *_: self.sent.append(executor))

    def _image(self, *given: Any, **options: Any) -> None:  # noqa: ANN401 - as they are
        self.images.append(given)
        self.options.append(options)

    def _clone(self, _: object, mounts: list[Any], home: str) -> tuple[tuple[str, str], ...]:
        clones = tuple((clone_folder(pin(mount), home), mount.target) for mount in mounts)
        self.mounts += [":".join(clone) for clone in clones]
        return clones


def test_images_and_repositories_are_there_before_a_job_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = make_repository(tmp_path / "checkout")
    prepared = Prepared(monkeypatch)
    repository = f"git+file://{checkout}@main,/opt/x"
    executor = slurm(container_image="image:1", git_mounts=[repository], force_squash=True, partition="p", qos=None)
    executor.submit("title", TASKS)
    first = git(checkout, "rev-parse", "HEAD")
    assert prepared.images == [(executor.connection, "image:1", "/lustre/me/jobs")]
    assert prepared.options[0]["force"] is True
    assert "--partition=p" in prepared.options[0]["srun_options"]
    assert [first in mount for mount in prepared.mounts] == [True]
    assert first in prepared.sent[0].request(TASKS).body["sbatch"]


def test_an_executor_that_submits_again_takes_what_a_branch_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = make_repository(tmp_path / "checkout")
    prepared = Prepared(monkeypatch)
    executor = slurm(container_image="image:1", git_mounts=[f"git+file://{checkout}@main,/opt/x"])
    executor.submit("title", TASKS)
    second = commit(checkout, "later")
    executor.submit("title", TASKS)
    first_job, second_job = (sent.request(TASKS).body["sbatch"] for sent in prepared.sent)
    assert second not in first_job
    assert second in second_job


def test_a_job_without_image_and_repositories_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(monkeypatch)
    slurm().submit("title", TASKS)
    assert (prepared.images, prepared.mounts, len(prepared.sent)) == ([], [], 1)


def test_a_repository_needs_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(monkeypatch)
    with pytest.raises(ConfigError, match="container"):
        slurm(git_mounts=[MOUNT]).submit("title", TASKS)
    assert prepared.sent == []


def test_the_source_is_what_its_packager_says(tmp_path: Path) -> None:
    executor = slurm(packager=SourcePackager(script_path="/s/train.py", repo_root=str(tmp_path), exclude=["*.md"]))
    source = executor.source()
    assert source is not None
    assert (source.script_path, source.repo_root, source.exclude) == ("/s/train.py", str(tmp_path), ("*.md",))
