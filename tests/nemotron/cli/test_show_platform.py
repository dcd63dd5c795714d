"""What a dry-run shows of a job for Slurm or Docker; what it shows of any platform's job is in test_show_cloud.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.submit.requests import request_of
from nemotron.cli import show_platform
from tests.nemotron.cli.clouds import cloud_job

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.job import Job

CANARY = "canary-0123456789"
COMMIT = "a" * 40
PROFILES = f"""\
[far]
executor = "slurm"
account = "research"
container_image = "registry.example/app:1"
tunnel = "ssh"
host = "login.example"
remote_job_dir = "/lustre/me/jobs"
mounts = ["${{auto_mount:git+https://host.example/x.git@{COMMIT},/opt/x}}"]
setup_lines = "module load x"
secrets = ["TEAM_API_KEY"]
env_vars = {{ TOKENISH = "${{oc.env:TEAM_API_KEY}}" }}

[file]
extends = "far"
container_image = "/lustre/images/app.sqsh"
mounts = []
secrets = []
env_vars = {{}}

[bare]
executor = "slurm"
container_image = "none"

[docker]
executor = "docker"
container_image = "image:1"
secrets = ["TEAM_API_KEY"]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)
    return tmp_path


def job_of(folder: Path, profile: str) -> Job:
    return cloud_job(folder, profile=profile, text=PROFILES)


def test_what_is_done_on_the_cluster_before_is_listed(here: Path) -> None:
    image, repository, secrets = show_platform.steps(job_of(here, "far"))
    assert image.startswith("import docker://registry.example#app:1 to /lustre/me/jobs/images/registry.example-app-1-")
    assert repository == (
        f"clone git+https://host.example/x.git@{COMMIT},/opt/x below /lustre/me/jobs/clones, "
        "at the commit that its ref is"
    )
    assert secrets == "write TEAM_API_KEY to a private file of the job, which is removed at its end"


@pytest.mark.parametrize(("profile", "before"), [("file", ["look for /lustre/images/app.sqsh"]), ("bare", [])])
def test_nothing_is_listed_that_is_not_done(here: Path, profile: str, before: list[str]) -> None:
    assert list(show_platform.steps(job_of(here, profile))) == before


@pytest.mark.parametrize("profile", ["far", "file", "bare", "docker"])
def test_a_submission_as_data_is_what_would_be_sent(here: Path, profile: str) -> None:
    job = job_of(here, profile)
    told, request = show_platform.submission(job), request_of(job)
    assert told["body_sha256"] == request.digest
    assert request.source is not None
    assert told["archive_sha256"] == request.source.sha256
    assert told["request"]["kind"] == request.kind
    assert CANARY not in json.dumps(told)
    if profile == "bare":
        assert told["request"]["body"] == json.loads(json.dumps(request.body, default=dict))


def test_the_script_is_shown_line_by_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = job_of(here, "far")
    show_platform.show_request(job)
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines()]
    assert "module load x" in lines
    assert "#SBATCH --account=research" in lines
    assert f"request   (job, sha256 {request_of(job).digest[:16]})" in lines
    assert "files   (in /lustre/me/jobs/jobs, a folder for each job)" in lines
    assert CANARY not in out
    assert "\\n" not in out.partition("files   (")[0]


def test_the_containers_are_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_platform.show_request(job_of(here, "docker"))
    out = capsys.readouterr().out
    assert "image:1" in out
    assert "#SBATCH" not in out
    assert CANARY not in out
    assert "what is there already is left as it is" not in out
