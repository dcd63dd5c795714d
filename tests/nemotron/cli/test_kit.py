from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemo_runspec import doctor
from nemo_runspec.errors import ConfigError, ProfileError, UsageError
from nemotron.cli import kit
from nemotron.cli.main import app
from tests.nemo_runspec.prepare.stand_ins import lines, make_cluster
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

IMAGE = "nvcr.io/nvidia/nemo:25.11"


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profiles = f"""
[template]
nodes = 1

[slurm]
extends = "template"
executor = "slurm"
account = "research"
remote_job_dir = "{tmp_path}/jobs"
container_image = "{IMAGE}"

[bare]
extends = "slurm"
container_image = "none"

[here]
executor = "local"

[broken]
executor = "local"
secrets = ["NOT_SET_TOKEN"]
"""
    write_env_file(tmp_path, profiles)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_cluster(tmp_path / "stand-ins", monkeypatch)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kit", *arguments])


def test_squash_imports_the_profiles_image_and_prints_only_the_path(cluster: Path, tmp_path: Path) -> None:
    result = invoke("squash", "slurm")
    assert result.exit_code == 0, result.output
    path = result.stdout.strip()
    assert path.startswith(f"{tmp_path}/jobs/images/nvcr.io-nvidia-nemo-25.11-")
    assert "[INFO] Querying registry" in result.stderr
    assert "--account=research" in lines(cluster / "srun.log")[0]
    assert invoke("squash", "slurm").stdout.strip() == path
    assert len(lines(cluster / "enroot.log")) == 1
    assert invoke("squash", "slurm", "--force").stdout.strip() == path
    assert len(lines(cluster / "enroot.log")) == 2


def test_squash_takes_another_image(cluster: Path) -> None:
    assert "team-app-1-" in invoke("squash", "bare", "registry.example/team/app:1").stdout
    assert "docker://registry.example#team/app:1" in lines(cluster / "enroot.log")[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("here",), UsageError, "uses the executor 'local'"),
        (("bare",), UsageError, "names no container image"),
        (("slurm", "no image"), ConfigError, "is no container image"),
        (("slrm",), ProfileError, "no profile 'slrm'"),
    ],
)
def test_squash_says_what_it_cannot_do(arguments: tuple[str, ...], error: type[Exception], said: str) -> None:
    failure = invoke("squash", *arguments).exception
    assert isinstance(failure, error)
    assert said in str(failure)


def test_doctor_tells_one_line_each_and_ends_with_one_where_something_failed() -> None:
    good = invoke("doctor", "here")
    assert good.exit_code == 0, good.output
    first, *others, last = good.stdout.splitlines()
    assert first == "[here]   local"
    assert all(line.startswith("  ok   ") for line in others)
    assert last.startswith("1 of 1 without a failure, ")
    bad = invoke("doctor", "here", "broken")
    assert bad.exit_code == 1
    told = next(line for line in bad.stdout.splitlines() if "FAIL" in line)
    assert told == (
        "  FAIL secrets         NOT_SET_TOKEN is not set in your environment -> Export it, or take it out of `secrets`."
    )


def test_doctor_looks_at_every_profile_but_templates_when_none_is_named() -> None:
    result = invoke("doctor", "--json", "--timeout", "20")
    document = json.loads(result.stdout)
    assert list(document["profiles"]) == ["slurm", "bare", "here", "broken"]
    assert document["healthy"] is False
    assert result.exit_code == 1
    assert document["profiles"]["here"]["healthy"] is True
    secrets = [one for one in document["profiles"]["broken"]["checks"] if one["check"] == "secrets"]
    assert [(one["state"], bool(one["remedy"])) for one in secrets] == [("fail", True)]


def test_doctor_says_when_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "env.toml").write_text("", encoding="utf-8")
    assert "no profile to look at" in str(invoke("doctor").exception)


def test_a_profile_that_is_not_there_is_a_finding_among_the_others() -> None:
    result = invoke("doctor", "here", "ther")
    assert result.exit_code == 1
    assert "FAIL profile" in result.stdout
    assert "Did you mean 'here'?" in result.stdout


def test_the_time_that_help_tells_is_the_doctors() -> None:
    assert kit.TIMEOUT_S == doctor.TIMEOUT_S
    assert {"squash", "doctor"} <= set(invoke("--help").stdout.split())
