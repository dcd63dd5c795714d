from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.errors import ArtifactNotFoundError, ConfigError, JobFailedError, MissingValueError
from nemo_runspec.pipeline import plan, run_plan
from nemo_runspec.step import Step, StepReport
from nemo_runspec.submit.local import execute_local
from tests.nemo_runspec.recipes import write_recipe

if TYPE_CHECKING:
    from pathlib import Path


PUBLISH = """\
from nemo_runspec.stage import Stage, StageResult, run_stage
def main(stage):
    run_dir = stage.run_dir()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "value").write_text("x")
    result = StageResult(metric="loss", first=2.0, last=stage.config["last"], tokens=10, seconds=2.0, curve=[(1, 2.0)])
    stage.publish(run_dir, path=run_dir / "value", type="model", metadata={}, result=result)
if __name__ == "__main__":
    raise SystemExit(run_stage(main))
"""

FIRST = "run: {env: {}}\nartifact: {name: one}\noutput_dir: '${workspace:}/one'\nlast: 1.5\n"
SECOND = """\
run: {env: {}, data: one}
artifact: {name: two}
output_dir: ${workspace:}/two
last: 0.5
path: ${art:data,path}
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    monkeypatch.chdir(tmp_path)
    return [
        Step("data prep one", write_recipe(tmp_path / "one", body=PUBLISH, config=FIRST)),
        Step("two", write_recipe(tmp_path / "two", body=PUBLISH, config=SECOND)),
    ]


def _request(*overrides: str) -> RecipeConfig:
    return RecipeConfig(overrides=tuple(found for text in overrides if (found := parse_override(text))))


def _quiet(step: Step, number: int, total: int) -> None:
    assert step.name
    assert 1 <= number <= total


def test_an_artifact_of_an_earlier_step_may_be_open(steps: list[Step]) -> None:
    checked = plan(steps, _request())
    assert list(checked.jobs[1].missing) == ["one"]
    with pytest.raises(ArtifactNotFoundError):
        plan(steps[1:], _request())


def test_the_steps_run_in_order_and_report(steps: list[Step]) -> None:
    reports = list(run_plan(plan(steps, _request()), execute_local, _quiet))
    assert [(report.name, report.artifact, report.first, report.last) for report in reports] == [
        ("data prep one", "one:v1", 2.0, 1.5),
        ("two", "two:v1", 2.0, 0.5),
    ]
    assert reports[0].tokens_per_s == 5.0
    assert reports[0].curve == ((1, 2.0),)
    assert json.dumps(reports[0].as_row())


def test_overrides_go_to_the_step_they_name(steps: list[Step]) -> None:
    checked = plan(steps, _request("data_prep_one.last=7", "run.env.nproc_per_node=2"))
    assert [job.train_config["last"] for job in checked.jobs] == [7, 0.5]
    assert [job.run["env"]["nproc_per_node"] for job in checked.jobs] == [2, 2]


def test_a_mistake_in_an_override_is_told_as_it_was_typed(steps: list[Step]) -> None:
    with pytest.raises(ConfigError) as error:
        plan(steps, _request("two.lats=1"))
    assert "override 'two.lats=1'" in str(error.value)
    assert "++two.lats=1" in str(error.value)


@pytest.mark.parametrize("override", ["tow.last=1", "last=1", "two=1"])
def test_an_override_for_no_step_is_refused(steps: list[Step], override: str) -> None:
    with pytest.raises(ConfigError, match="belongs to no stage") as error:
        plan(steps, _request(override))
    assert "data_prep_one, two" in str(error.value)


def test_one_file_is_no_configuration_for_several_steps(steps: list[Step], tmp_path: Path) -> None:
    for name in ("./my.yaml", "my.yaml", str(tmp_path / "x")):
        with pytest.raises(ConfigError, match="is one file"):
            plan(steps, RecipeConfig(config=name))


def test_a_mandatory_value_is_asked_for_with_the_steps_name(steps: list[Step], tmp_path: Path) -> None:
    write_recipe(tmp_path / "one", body=PUBLISH, config=FIRST.replace("1.5", "???"))
    with pytest.raises(MissingValueError) as error:
        plan(steps, _request())
    assert "data_prep_one.last=VALUE" in str(error.value)
    assert plan(steps, _request("data_prep_one.last=1")).jobs[0].train_config["last"] == 1


def test_a_failed_step_stops_the_pipeline(steps: list[Step], tmp_path: Path) -> None:
    write_recipe(tmp_path / "one", body="raise SystemExit(4)", config=FIRST)
    with pytest.raises(JobFailedError) as error:
        list(run_plan(plan(steps, _request()), execute_local, _quiet))
    assert error.value.exit_code == 4
    assert not (tmp_path / "output" / "two").exists()


def test_a_script_without_a_result_gets_a_row(steps: list[Step], tmp_path: Path) -> None:
    write_recipe(tmp_path / "one", body="print('done')", config=FIRST)
    report = next(run_plan(plan(steps[:1], _request()), execute_local, _quiet))
    assert report == StepReport("data prep one", report.seconds)
