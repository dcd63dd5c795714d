from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.errors import InterruptedJobError, JobFailedError
from nemo_runspec.job import Job, compile_job
from nemo_runspec.job_folder import EXIT_CODE_FILE, LOG_FILE, PID_FILE
from nemo_runspec.submit.experiment import ATTACHED
from nemo_runspec.submit.prepare import job_description, raise_for_exit, write_job, write_launch_script
from tests.nemo_runspec.recipes import LEAVES_ONE_RUNNING, write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path


def _job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str = "print('ran')", table: str = "") -> Job:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, f'[here]\nexecutor = "local"\n{table}\n')
    script = write_recipe(tmp_path / "a 'quoted' $folder", body=body)
    return compile_job(script, RecipeConfig(profile="here", argv=("nemotron", "run")))


def test_secrets_of_the_command_line_and_the_configuration_are_in_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_TOKEN", "canary-from-environment")
    config = (
        "run: {env: {env_vars: {SERVICE_PAT: canary-variable}}, wandb: {project: p}}\n"
        "hub: {login: '${oc.env:HUB_TOKEN}', password: 12345678, url: 'sftp://me:canary-url@host/x'}\n"
        "args: [--api-key, canary-list]\neos_token: </s>\n"
    )
    script = write_recipe(tmp_path / "recipe", config=config)
    added = parse_override("++wandb.api_key=canary-override")
    project = parse_override("run.wandb.project=mine")
    assert added is not None
    assert project is not None
    passthrough = ("--token", "canary-passed", "--note=canary-override")
    argv = ("nemotron", "x", str(added), *passthrough, "--secret=short")
    job = compile_job(script, RecipeConfig(overrides=(added, project), passthrough=passthrough, argv=argv))
    write_job(job)
    write_launch_script(job)
    text = (job.job_dir / "job.yaml").read_text(encoding="utf-8")
    for kept_out in ("canary", "12345678", "short"):
        assert kept_out not in text
        assert kept_out not in json.dumps(job_description(job))
    record = yaml.safe_load(text)
    assert record["command"][-3:] == ["--token", "***", "--note=***"]
    assert record["provenance"]["argv"][2:] == ["++wandb.api_key=***", "--token", "***", "--note=***", "--secret=***"]
    assert record["provenance"]["dotlist"] == ["++wandb.api_key=***", "run.wandb.project=mine"]
    assert "eos_token: </s>" in text
    assert record["config"]["hub"] == {"login": "***", "password": "***", "url": "sftp://me:***@host/x"}
    assert record["origins"]["wandb.api_key"] == "command line"
    assert record["env"]["SERVICE_PAT"] == {"value": "***", "origin": "the configuration"}
    assert record["env"]["WANDB_PROJECT"] == {"value": "mine", "origin": "command line"}
    assert "canary-passed" in (job.job_dir / "launch.sh").read_text(encoding="utf-8")
    assert "canary-override" in (job.job_dir / "train.yaml").read_text(encoding="utf-8")


def test_places_are_exact_even_if_a_secret_is_part_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "output")
    monkeypatch.chdir(tmp_path)
    job = compile_job(write_recipe(tmp_path / "recipe"), RecipeConfig())
    assert job_description(job)["artifacts"]["root"] == f"{tmp_path}/output/artifacts"
    assert job_description(job)["job_dir"] == str(job.job_dir)


def test_the_record_is_the_description_and_the_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(tmp_path, monkeypatch)
    write_job(job)
    record = yaml.safe_load((job.job_dir / "job.yaml").read_text(encoding="utf-8"))
    provenance = record.pop("provenance")
    assert record == job_description(job)
    assert provenance["argv"] == ["nemotron", "run"]
    assert provenance["profile"]["source"].endswith("env.toml:1")


@pytest.mark.parametrize(
    ("body", "table", "code", "log"),
    [
        ("print('ran')", "", 0, "ran\n"),
        ("raise SystemExit(5)", "", 5, ""),
        ("import os\nprint(os.environ['LATER'])", 'startup_commands = ["export LATER=1"]', 0, "1\n"),
        ("print('ran')", 'startup_commands = ["echo first", "false"]', 1, "first\nstartup command failed: false\n"),
    ],
)
def test_the_launch_script_becomes_the_job_and_its_log_and_exit_code_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, table: str, code: int, log: str
) -> None:
    job = _job(tmp_path, monkeypatch, body, table)
    write_job(job)
    write_launch_script(job)
    result = subprocess.run(["bash", str(ATTACHED), str(job.job_dir)], check=False, capture_output=True, text=True)  # noqa: S607 - the system's bash
    assert (result.returncode, result.stdout) == (code, log)
    assert (job.job_dir / EXIT_CODE_FILE).read_text(encoding="utf-8") == f"{code}\n"
    assert (job.job_dir / LOG_FILE).read_text(encoding="utf-8") == log
    assert int((job.job_dir / PID_FILE).read_text(encoding="utf-8")) > 1


def test_what_the_job_leaves_running_does_not_keep_the_attached_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(tmp_path, monkeypatch, LEAVES_ONE_RUNNING)
    write_job(job)
    write_launch_script(job)
    command = ["bash", str(ATTACHED), str(job.job_dir)]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    assert (job.job_dir / LOG_FILE).read_text(encoding="utf-8") == "ran\n"
    os.kill(int((tmp_path / "left").read_text(encoding="utf-8")), signal.SIGKILL)


def test_the_job_starts_where_its_script_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(tmp_path, monkeypatch)
    script = job.spec.script_path
    text = script.read_text(encoding="utf-8")
    script.write_text(
        text.replace('# launch = "direct"', f'# launch = "direct"\n# workdir = "{tmp_path}"'), encoding="utf-8"
    )
    job = compile_job(script, RecipeConfig())
    write_job(job)
    lines = write_launch_script(job).read_text(encoding="utf-8").splitlines()
    assert f"cd {tmp_path}" in lines


def test_exit_codes_become_errors(tmp_path: Path) -> None:
    raise_for_exit(tmp_path, "x", 0)
    for code, status in ((3, 3), (-9, 137), (143, 143)):
        with pytest.raises(JobFailedError, match=f"exit code {status}") as failed:
            raise_for_exit(tmp_path, "x", code)
        assert failed.value.exit_code == status
    with pytest.raises(InterruptedJobError):
        raise_for_exit(tmp_path, "x", 0, interrupted=True)
    with pytest.raises(JobFailedError, match="without leaving an exit code"):
        raise_for_exit(tmp_path, "x", None)
    for code in (130, -2):
        with pytest.raises(InterruptedJobError, match="interrupted") as interrupted:
            raise_for_exit(tmp_path, "x", code)
        assert interrupted.value.exit_code == 130


def test_a_reported_error_counts_only_for_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "error.json").write_text('{"message": "bad line", "exit_code": 2}', encoding="utf-8")
    raise_for_exit(tmp_path, "x", 0)
    with pytest.raises(JobFailedError, match="bad line") as failed:
        raise_for_exit(tmp_path, "x", 1)
    assert failed.value.exit_code == 2
