from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import RecipeConfig
from nemo_runspec.errors import DataError, JobFailedError, ProfileError, UsageError
from nemo_runspec.job import compile_job
from nemo_runspec.pipeline import Plan, plan
from nemo_runspec.step import Step
from nemotron.cli.checks import check_place, check_ready, makers_named
from tests.nemo_runspec.recipes import write_env_file, write_recipe
from tests.nemotron.cli.clouds import write_profiles

if TYPE_CHECKING:
    from pathlib import Path


def _plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, profile: str | None = None) -> Plan:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, '[cluster]\nexecutor = "slurm"\naccount = "a"\n')
    first = Step("one", write_recipe(tmp_path / "one"))
    last = Step("two", write_recipe(tmp_path / "two", config=config))
    return plan([first, last], RecipeConfig(profile=profile))


def test_an_obstacle_of_the_last_stage_stops_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProfileError, match="wants 4 nodes"):
        check_ready(_plan(tmp_path, monkeypatch, "run: {env: {nodes: 4}}\n"))


def test_a_blend_of_the_last_stage_stops_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _plan(tmp_path, monkeypatch, "run: {env: {}}\nblend: blend.json\n")
    with pytest.raises(DataError, match=r"blend\.json"):
        check_ready(found)
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "a", "path": "data.jsonl"}]}', encoding="utf-8")
    check_ready(found)


def test_only_a_cloud_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, '[here]\nexecutor = "local"\n')
    job = compile_job(write_recipe(tmp_path / "one"), RecipeConfig(profile="here", rehearse=True))
    with pytest.raises(UsageError, match="'here' runs jobs with the executor 'local'"):
        check_place(job)


@pytest.mark.parametrize(("code", "named"), [(2, True), (1, False)])
def test_a_job_that_lacks_an_artifact_names_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, *, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(tmp_path)
    config = "run: {env: {}, data: corpus}\npath: '${art:data,path}'\n"
    job = compile_job(write_recipe(tmp_path / "one", config=config), RecipeConfig(profile="runai", rehearse=True))
    failure = JobFailedError("it failed", exit_code=code, remedy="Look there.")
    with (
        pytest.raises(JobFailedError) as caught,
        makers_named(job, {"corpus": "nemotron nano3 data prep sft -c tiny"}.get),
    ):
        raise failure
    made = "made there with: nemotron nano3 data prep sft -c tiny --run runai --rehearse. Look there."
    assert caught.value.exit_code == code
    assert (made in str(caught.value)) is named
