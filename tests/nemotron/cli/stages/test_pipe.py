from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.errors import JobFailedError, UsageError
from nemo_runspec.step import Step
from nemotron.cli.stages.pipe import run_pipeline
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    monkeypatch.chdir(tmp_path)
    return [Step(name, write_recipe(tmp_path / name, body="print('done')")) for name in ("one", "two")]


def test_the_report_is_written(steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_pipeline(RecipeConfig(), "test", steps)
    report = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in report["stages"]] == ["one", "two"]
    assert "nemotron test pipe" in (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    assert shown.index("1/2  one") < shown.index("2/2  two") < shown.index("report: output/report.html")


def test_what_was_done_is_reported_when_a_later_stage_fails(steps: list[Step], tmp_path: Path) -> None:
    write_recipe(tmp_path / "two", body="raise SystemExit(3)")
    with pytest.raises(JobFailedError):
        run_pipeline(RecipeConfig(), "test", [steps[0], Step("two", tmp_path / "two" / "hello.py")])
    report = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in report["stages"]] == ["one"]


def test_a_dry_run_shows_every_stage(steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_pipeline(RecipeConfig(dry_run=True, as_json=True), "test", steps)
    assert [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]] == ["one", "two"]
    assert not (tmp_path / "output").exists()


def test_a_pipeline_does_not_run_detached_on_this_machine(steps: list[Step], tmp_path: Path) -> None:
    write_env_file(tmp_path, '[x]\nexecutor = "local"\n')
    with pytest.raises(UsageError, match="attached"):
        run_pipeline(RecipeConfig(mode=Mode.BATCH, profile="x"), "test", steps)
