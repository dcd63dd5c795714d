from __future__ import annotations

import pytest
from typer.testing import CliRunner

from nemo_runspec.spec import config_names, parse
from nemotron.cli import nano3
from nemotron.cli.family import Family, Row


def _family() -> Family:
    rows = (
        Row("data prep sft", "sft/data_prep.py", "Prepare.", "--sample 9"),
        Row("sft", "sft/train.py", "Train."),
    )
    return Family("nano3", "Nemotron 3 Nano", rows)


def test_every_row_is_a_command_and_its_words_are_groups() -> None:
    runner = CliRunner()
    app = _family().app()
    for line, text in (
        (["sft", "-h"], "Train."),
        (["data", "prep", "sft", "-h"], "Prepare."),
        (["pipe", "-h"], "Run all"),
    ):
        result = runner.invoke(app, line)
        assert result.exit_code == 0
        assert text in result.output
    assert "nemotron nano3 sft -c tiny" in runner.invoke(app, ["sft", "-h"]).output
    assert "nemotron nano3 data prep sft -c tiny --sample 9" in runner.invoke(app, ["data", "prep", "sft", "-h"]).output


def test_the_command_that_makes_an_artifact_is_known() -> None:
    family = _family()
    assert family.maker("nano3-tiny-sft-data") == "nemotron nano3 data prep sft -c tiny"
    assert family.maker("nano3-sft-model") == "nemotron nano3 sft -c default"
    assert family.maker("somebody-elses") is None


@pytest.mark.parametrize("row", nano3.FAMILY.rows, ids=lambda row: row.command)
def test_every_recipe_of_nano3_has_its_two_configurations(row: Row) -> None:
    spec = parse(nano3.FAMILY.script(row))
    assert {"default", "tiny"} <= set(config_names(spec.config_dir))
    assert spec.name.startswith("nano3/")
