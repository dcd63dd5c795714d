"""Ray jobs of Lepton up to the start of their drivers; tests/clusters/test_ray_on_lepton.py goes on from there."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import Mode, Override, RecipeConfig
from nemo_runspec.errors import InterruptedJobError, ProfileError, RefusedError
from nemo_runspec.executors import submission
from nemo_runspec.executors.journal import Journal
from nemo_runspec.executors.once import WISH, Wish
from nemo_runspec.job import Job, compile_job
from nemo_runspec.job_folder import WORKLOAD_FILE
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.workload import JobState
from nemo_runspec.submit import ray as module
from nemo_runspec.submit.ray import makes_ray_cluster, on_ray_cluster, ray_parts, submit_ray
from tests.nemo_runspec.executors.platforms import FakePlatform
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file, write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.errors import NemotronError
    from nemo_runspec.platforms.ray_dashboard import Driver
    from nemo_runspec.platforms.workload import Submitted

CANARY = "canary-5521"
PROFILES = f"""\
[far]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
env_vars = {{ TEAM = "blue" }}
startup_commands = ["echo before"]
secrets = ["TEAM_API_KEY"]
[ends]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
secrets = {{ LEPTON_WORKSPACE_TOKEN = "token" }}
"""


@dataclass
class FakeRay(FakePlatform):
    """Remembers the drivers that it is to start."""

    base_url: str = "https://lepton.example/api"
    origin: str | None = None
    drivers: list[Driver] = field(default_factory=list)
    failure: Exception | None = None

    def await_ready(self, name: str, say: Callable[[str], None]) -> None:
        say(f"{name} is ready")

    def start(self, workload: Submitted, driver: Driver, package: tuple[str, bytes]) -> None:
        assert package[0].startswith("_ray_pkg_")
        if self.failure is not None:
            raise self.failure
        assert driver.id == workload.name
        self.drivers.append(driver)

    def dashboard(self, _name: str) -> FakeRay:
        return self

    def submit_driver(self, driver: Driver) -> None:
        self.drivers.append(driver)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)
    monkeypatch.setenv("NEMORUN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "nemo_run_home", lambda: tmp_path / "home")
    for name in ("HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_env_file(tmp_path, PROFILES)
    return tmp_path


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()

    def connect(_platform: str, _connection: Mapping[str, str]) -> FakeRay:
        return made

    for place in (module, submission):
        monkeypatch.setattr(place, "connect", connect)
    return made


def job_of(project: Path, *overrides: str, launch: str = "ray", profile: str = "far") -> Job:
    script = write_recipe(project / "mine", launch=launch)
    parsed = tuple(Override(key, value) for key, _, value in (text.partition("=") for text in overrides))
    request = RecipeConfig(mode=Mode.RUN, profile=profile, overrides=parsed)
    return compile_job(script, request)


@pytest.fixture(autouse=True)
def usual_wish() -> Iterator[None]:
    WISH.set(Wish())
    yield
    WISH.set(Wish())


def packed(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist() if name.startswith(".nemo_runspec/")}


def test_which_jobs_run_on_a_cluster_of_the_platform(project: Path) -> None:
    assert on_ray_cluster(job_of(project))
    assert makes_ray_cluster(job_of(project))
    assert not on_ray_cluster(job_of(project, "run.env.nodes=1"))
    assert not on_ray_cluster(job_of(project, launch="torchrun"))
    given = job_of(project, "run.env.nodes=1", "run.env.existing_ray_cluster=team")
    assert (on_ray_cluster(given), makes_ray_cluster(given)) == (True, False)


def test_a_cluster_of_its_own_has_the_variables_and_secrets(project: Path) -> None:
    parts = ray_parts(job_of(project))
    spec = parts.request.body["spec"]
    envs = {entry["name"]: entry["value"] for entry in spec["head_group_spec"]["envs"]}
    assert envs["TEAM"] == "blue"
    assert envs["TEAM_API_KEY"] == CANARY
    assert envs["GREETING"] == "hello there"
    assert envs["NEMO_RUNSPEC_RAY_PACKAGE"] == parts.package.sha256
    assert spec["worker_group_specs"][0]["min_replicas"] == 1
    assert parts.request.secret_variables == {"TEAM_API_KEY"}
    driver = parts.driver("mine-abc123")
    folder = "/mnt/shared/nemo_run/jobs/mine-abc123"
    assert driver.runtime_env == {
        "working_dir": parts.package.uri,
        "env_vars": {"NEMO_RUNSPEC_JOB_DIR": folder, "PYTHONPATH": f"{folder}/code/src"},
    }


def test_on_a_cluster_that_is_there_only_plain_variables_travel(project: Path) -> None:
    parts = ray_parts(job_of(project, "run.env.existing_ray_cluster=team"))
    driver = parts.driver("mine-abc123")
    assert parts.request.kind == "rayjob"
    assert driver.runtime_env["env_vars"]["TEAM"] == "blue"
    assert CANARY not in json.dumps([dict(driver.runtime_env), parts.request.body])
    assert json.loads(packed(parts.package.data)[".nemo_runspec/orders.json"])["nodes"] == 1


def test_the_package_has_what_each_node_and_the_driver_run(project: Path) -> None:
    files = packed(ray_parts(job_of(project)).package.data)
    orders = json.loads(files[".nemo_runspec/orders.json"])
    assert orders == {"nodes": 2, "prepare": ["bash", "/nemo_run/prepare.sh"], "run": ["bash", "/nemo_run/launch.sh"]}
    assert "echo before" in files[".nemo_runspec/prepare.sh"]
    assert files[".nemo_runspec/prepare.sh"].endswith("exec true\n")
    assert "echo before" not in files[".nemo_runspec/launch.sh"]
    assert "exec bash /nemo_run/scripts/test-hello.sh" in files[".nemo_runspec/launch.sh"]
    assert "/nemo_run/train.yaml" in files[".nemo_runspec/scripts/test-hello.sh"]
    assert not any(CANARY in text for text in files.values())


def test_without_commands_before_it_nothing_is_prepared(project: Path) -> None:
    files = packed(ray_parts(job_of(project, profile="ends")).package.data)
    assert json.loads(files[".nemo_runspec/orders.json"])["prepare"] == []
    assert ".nemo_runspec/prepare.sh" not in files


def test_a_job_is_recorded_and_its_driver_started(project: Path, platform: FakeRay) -> None:
    job = job_of(project)
    job.job_dir.mkdir(parents=True)
    WISH.set(Wish(also_told=True))
    workload, client = submit_ray(job)
    assert client is platform
    assert [driver.id for driver in platform.drivers] == [workload.name]
    entry = Journal(project / "home").read(workload.name)
    assert (entry.kind, entry.nodes, entry.confirmed) == ("raycluster", 2, True)
    assert json.loads((job.job_dir / WORKLOAD_FILE).read_text(encoding="utf-8"))["name"] == workload.name
    platform.states = [JobState.STARTING]
    again, _ = submit_ray(job)
    assert again == workload, "the same command goes on with the cluster that is there"
    assert len(platform.sent) == 1


def test_what_is_left_to_a_cluster_that_is_there_is_told(project: Path, platform: FakeRay) -> None:
    job = job_of(project, "run.env.existing_ray_cluster=team")
    job.job_dir.mkdir(parents=True)
    told: list[str] = []
    WISH.set(Wish(say=told.append))
    submit_ray(job)
    assert told[0] == "nothing secret is sent to a cluster that is there; it has to have TEAM_API_KEY itself"
    assert len(platform.drivers) == 1


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(RefusedError("no", status=400), RefusedError), (AbandonedError("given up"), InterruptedJobError)],
)
def test_no_cluster_is_left_without_a_driver(
    project: Path, platform: FakeRay, failure: NemotronError, raised: type[NemotronError]
) -> None:
    job = job_of(project)
    job.job_dir.mkdir(parents=True)
    platform.failure = failure
    with pytest.raises(raised):
        submit_ray(job)
    ABANDONED.set(None)
    (workload,) = platform.cancelled
    assert Journal(project / "home").read(workload.name).last_state is JobState.CANCELLED


def test_who_leaves_needs_a_head_that_ends_the_cluster(
    project: Path, platform: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(project)
    job.job_dir.mkdir(parents=True)
    WISH.set(Wish(leaves=True))
    with pytest.raises(ProfileError, match="a Ray job that nobody waits for"):
        submit_ray(job)
    assert platform.sent == []

    class Dashboard:
        def submit(self, driver: Driver) -> None:
            platform.drivers.append(driver)

    monkeypatch.setattr(platform, "dashboard", lambda _: Dashboard())
    ends = job_of(project, profile="ends")
    ends.job_dir.mkdir(parents=True, exist_ok=True)
    workload, _ = submit_ray(ends)
    first, second = platform.drivers
    assert (first.id, second.id) == (f"{workload.name}-end", workload.name)
    assert f"--after {workload.name} --linger 600" in first.entrypoint
