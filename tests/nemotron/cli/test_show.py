from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nemo_runspec.context import RecipeConfig
from nemo_runspec.job import Job, compile_job
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.step import Step, StepReport
from nemotron.cli import show
from tests.nemo_runspec.recipes import write_env_file, write_recipe


def _job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_TOKEN", "canary-0123456789")
    write_env_file(tmp_path, '[here]\nexecutor = "local"\nsecrets = ["A_TOKEN", "B_TOKEN"]\nnodes = 2\n')
    config = "run: {env: {}, data: corpus}\nnote: canary-0123456789\npath: '${art:data,path}'\n"
    script = write_recipe(tmp_path / "recipe", config=config)
    return compile_job(script, RecipeConfig(profile="here"), allow_missing=True)


def test_a_dry_run_tells_origins_and_obstacles_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show.dry_run(_job(tmp_path, monkeypatch))
    shown = capsys.readouterr().out
    for text in (
        "nodes: 2   # profile here (env.toml:4)",
        "note: '***'",
        "A_TOKEN=***   # your environment",
        "there is no artifact 'corpus'",
        "takes B_TOKEN from your environment",
        "wants 2 nodes",
        "nothing was started",
    ):
        assert text in shown
    assert "canary" not in shown


def test_annotated_yaml_is_the_configuration_again() -> None:
    config = {"a": {"b": [1, {"c": None}], "d": {}}, "text": "yes: no", "long": "x " * 200, "n": 1e-5}
    lines = list(show.annotated_yaml(config, {"a.b": "command line", "a": "profile x"}))
    assert yaml.safe_load("\n".join(line for line, _ in lines)) == config
    assert lines[0] == ("a:", "profile x")
    assert [origin for _, origin in lines[1:3]] == ["command line", None]


def test_a_detached_job_tells_how_to_follow_and_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = _job(tmp_path, monkeypatch)
    show.submitted(job, Submitted("slurm", "job", "42", "hello-x"))
    shown = capsys.readouterr().out
    assert f"{job.spec.name} was submitted to {job.profile.name} as job hello-x." in shown
    assert "identifier  42" in shown
    for command in ("status", "logs", "reattach", "cancel"):
        assert f"nemotron jobs {command} hello-x" in shown


@pytest.mark.parametrize("width", ["80", "120"])
def test_the_table_loses_nothing_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.chdir(tmp_path)
    artifact = "a-rather-long-name-of-an-artifact:v12"
    report = StepReport("data prep pretrain", 12.3, tokens=1000, metric="loss", first=2.0, last=1.0, artifact=artifact)
    show.pipeline_report([report], tmp_path / "output")
    shown = capsys.readouterr().out
    # A cell that is too wide goes on in the next line, in the same column.
    column = shown.splitlines()[1].index("artifact")
    assert "".join(line[column:].strip() for line in shown.splitlines()[3:-2]) == artifact
    assert shown.splitlines()[-1] == "report: output/report.html and output/report.json"


def test_a_stage_begins_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    show.step_header(Step("sft", Path("train.py")), 2, 7)
    assert capsys.readouterr().out.startswith("2/7  sft ")
