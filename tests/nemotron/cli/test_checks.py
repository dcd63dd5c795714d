from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import RecipeConfig
from nemo_runspec.errors import DataError, ProfileError, UsageError
from nemo_runspec.job import compile_job
from nemo_runspec.pipeline import Plan, plan
from nemo_runspec.step import Step
from nemotron.cli.checks import check_place, check_ready
from tests.nemo_runspec.recipes import write_env_file, write_recipe

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


def test_an_executor_that_cannot_start_jobs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in _plan(tmp_path, monkeypatch, "run: {env: {}}\n", "cluster").jobs:
        with pytest.raises(ProfileError, match="executor 'slurm'"):
            check_place(job)


def test_only_a_cloud_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, '[here]\nexecutor = "local"\n')
    job = compile_job(write_recipe(tmp_path / "one"), RecipeConfig(profile="here", rehearse=True))
    with pytest.raises(UsageError, match="'here' runs jobs with the executor 'local'"):
        check_place(job)
