"""What a dry-run shows is what is sent: the same request on the way through nemo-run and its executors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from nemo_run.config import get_nemorun_home

from nemo_runspec.context import Mode, Override, RecipeConfig
from nemo_runspec.errors import ConfigError, ProfileError
from nemo_runspec.executors import connection, scheduler, slurm, submission
from nemo_runspec.executors import platform as platform_executors
from nemo_runspec.executors.journal import Journal
from nemo_runspec.git_mounts import pin
from nemo_runspec.job import Job, compile_job
from nemo_runspec.job_folder import WORKLOAD_FILE
from nemo_runspec.prepare.clones import clone_folder
from nemo_runspec.submit.platform import execute_on_platform
from nemo_runspec.submit.requests import request_of
from tests.nemo_runspec.executors.platforms import FakePlatform
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nemo_runspec.git_mounts import GitMount
    from nemo_runspec.platforms.workload import Request

CANARY = "canary-0123456789"
AWKWARD = "a \"b\" 'c' $HOME `id`\\n\\n\\tü"
SLURM = f"""\
[plain]
executor = "slurm"
account = "research"
partition = "batch"
run_partition = "interactive"
batch_partition = "long"
time = "00:10:00"
nodes = 2
gpus_per_node = 8
ntasks_per_node = 8
cpus_per_task = 4
mem = "0"
exclusive = true
setup_lines = "module load x\\nulimit -n 65536"
srun_args = ["--mpi=pmix"]
additional_parameters = {{ mail_type = "FAIL", requeue = true, nice = 5 }}
startup_commands = ["echo 'before'"]
secrets = ["TEAM_API_KEY"]
container_image = "none"
workspace = "/lustre/me/results"
tunnel = "ssh"
host = "login.example"
port = 2222
user = "me"
identity = "~/.ssh/id"
remote_job_dir = "/lustre/me/my jobs"

[plain.env_vars]
MSG = {json.dumps(AWKWARD)}
lower_case = "1"

[image]
extends = "plain"
container_image = "registry.example/team/app:1.0"
remote_job_dir = "/lustre/me/jobs"
mounts = ["/data:/data:ro"]

[scripts]
executor = "slurm"
account = "research"

[docker]
executor = "docker"
container_image = "image:1"
nodes = 2
gpus_per_node = 1
runtime = "nvidia"
ipc_mode = "host"
shm_size = "1g"
mounts = ["~/data:/data:ro", "$SOMEWHERE/x:/x"]
startup_commands = ["echo 'before'"]
secrets = ["TEAM_API_KEY"]
env_vars = {{ MSG = {json.dumps(AWKWARD)} }}
"""
SENT = pytest.mark.parametrize("profile", ["plain", "image", "scripts", "docker"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)
    monkeypatch.setenv("SOMEWHERE", "/some where")
    write_env_file(tmp_path, SLURM)
    return tmp_path


def _clones(_: object, mounts: Iterable[GitMount], home: str) -> tuple[tuple[str, str], ...]:
    return tuple((clone_folder(pin(mount), home), mount.target) for mount in mounts)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    """Give what receives the requests; a cluster's images and clones are said to be there."""
    fake = FakePlatform()
    for module in (platform_executors, scheduler, submission, connection):
        monkeypatch.setattr(module, "connect", lambda *_: fake)
    monkeypatch.setattr(slurm, "shell_of", lambda _: None)
    monkeypatch.setattr(slurm, "ensure_squashed_image", lambda *_, **__: "")
    monkeypatch.setattr(slurm, "clone_git_repos_via_tunnel", _clones)
    yield fake
    for entry in Journal(get_nemorun_home()).entries():
        Journal(get_nemorun_home()).forget(entry.name)


def job_of(folder: Path, profile: str, *, launch: str = "torchrun", image: str = "", **request: Any) -> Job:  # noqa: ANN401 - the command line's own
    script = write_recipe(folder / "recipe", launch=launch)
    if image:
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace('schema = "1"', f'schema = "1"\n# image = "{image}"'), encoding="utf-8")
    return compile_job(script, RecipeConfig(profile=profile, **{"mode": Mode.RUN, **request}))


def sent(job: Job, platform: FakePlatform) -> Request:
    """Submit a job, and give the one request that its platform has got."""
    before = len(platform.sent)
    execute_on_platform(job, detach=True)
    ((_, request),) = platform.sent[before:]
    return request


@SENT
@pytest.mark.parametrize("launch", ["torchrun", "direct"])
def test_what_is_sent_is_what_was_shown(here: Path, platform: FakePlatform, profile: str, launch: str) -> None:
    job = job_of(here, profile, launch=launch)
    shown, got = request_of(job), sent(job, platform)
    assert got.body == shown.body
    assert got.digest == shown.digest
    assert {name: got.files[name] for name in got.files} == dict(shown.files)
    assert (got.secrets, got.source, got.after, got.kind) == (shown.secrets, shown.source, (), shown.kind)
    assert dict(got.secrets) == ({} if profile == "scripts" else {"TEAM_API_KEY": CANARY})
    (entry,) = (one for one in Journal(get_nemorun_home()).entries() if one.name == platform.sent[-1][0])
    assert (entry.digest, entry.profile, entry.platform) == (shown.digest, profile, shown.platform)
    assert json.loads((job.job_dir / WORKLOAD_FILE).read_text(encoding="utf-8"))["name"] == entry.name


def test_a_repository_is_sent_at_its_commit(here: Path, platform: FakePlatform) -> None:
    checkout = make_repository(here / "checkout")
    mount = f"${{auto_mount:git+file://{checkout}@main,/opt/app}}"
    write_env_file(here, SLURM.replace('mounts = ["/data:/data:ro"]', f'mounts = ["/data:/data:ro", "{mount}"]'))
    shown = request_of(job_of(here, "image"))
    assert "/clones/" in shown.body["sbatch"]
    assert ":/opt/app" in shown.body["sbatch"]
    pinned = request_of(job_of(here, "image"), pinned=True)
    first = git(checkout, "rev-parse", "HEAD")
    assert first in pinned.body["sbatch"]
    assert first not in shown.body["sbatch"]
    assert sent(job_of(here, "image"), platform).digest == pinned.digest
    second = commit(checkout, "second")
    after = sent(job_of(here, "image"), platform)
    assert second in after.body["sbatch"]
    assert after.digest != pinned.digest


@pytest.mark.parametrize(("mode", "partition"), [(Mode.RUN, "interactive"), (Mode.BATCH, "long")])
def test_the_partition_depends_on_whether_somebody_waits(
    here: Path, platform: FakePlatform, mode: Mode, partition: str
) -> None:
    got = sent(job_of(here, "plain", mode=mode), platform)
    assert f"#SBATCH --partition={partition}\n" in got.body["sbatch"]
    # Nobody has asked for one here.
    assert "--partition" not in sent(job_of(here, "scripts", mode=mode), platform).body["sbatch"]


def test_a_profile_decides_about_the_container(here: Path, platform: FakePlatform) -> None:
    image = "registry.example/script:2"
    named = sent(job_of(here, "scripts", image=image), platform).body["sbatch"]
    assert "/images/registry.example-script-2-" in named
    assert "--container-image" not in sent(job_of(here, "plain", image=image), platform).body["sbatch"]
    assert "registry.example-team-app-1.0" in sent(job_of(here, "image", image=image), platform).body["sbatch"]


def test_the_command_line_wins_over_the_profile(here: Path, platform: FakePlatform) -> None:
    overrides = (Override("run.env.nodes", "3"), Override("run.env.time", "'01:00:00'"))
    shown = sent(job_of(here, "plain", overrides=overrides), platform).body["sbatch"]
    assert "#SBATCH --nodes=3\n" in shown
    assert "#SBATCH --time=01:00:00\n" in shown


def test_docker_needs_an_image(here: Path) -> None:
    write_env_file(here, SLURM.replace('container_image = "image:1"\n', ""))
    job = job_of(here, "docker")
    with pytest.raises((ProfileError, ConfigError), match="image"):
        request_of(job)


def test_no_secret_is_in_what_a_dry_run_shows(here: Path) -> None:
    for profile in ("plain", "image", "docker"):
        request = request_of(job_of(here, profile))
        assert CANARY not in json.dumps(request.body, default=dict)
        assert [name for name, (content, _) in request.files.items() if CANARY.encode() in content] == []
        assert CANARY not in repr(request)
