from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemo_runspec.errors import JobFailedError, SpecError
from nemotron.cli.run import app
from tests.nemo_runspec.recipes import write_recipe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_any_script_runs(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "my recipe", body="import pathlib\npathlib.Path('made').write_text('x')")
    assert CliRunner().invoke(app, [str(script)]).exit_code == 0
    assert (tmp_path / "made").is_file()


def test_a_dry_run_is_one_json_object_and_runs_nothing(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe", body="raise SystemExit(1)")
    result = CliRunner().invoke(app, [str(script), "train.lr=0.5", "--dry-run", "--json", "--", "--x"])
    description = json.loads(result.output)
    assert description["config"]["train"]["lr"] == 0.5
    assert description["origins"] == {"train.lr": "command line"}
    assert description["command"][-1] == "--x"
    assert not (tmp_path / "output").exists()


def test_failures_reach_the_caller(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe", body="raise SystemExit(9)")
    failed = CliRunner().invoke(app, [str(script)]).exception
    assert isinstance(failed, JobFailedError)
    assert failed.exit_code == 9
    assert isinstance(CliRunner().invoke(app, [str(tmp_path)]).exception, SpecError)
