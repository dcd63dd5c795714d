from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.errors import ArtifactNotFoundError
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.submit import experiment
from nemotron.cli.stages.script import run_script
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.job import Job

READS = "run: {env: {}, data: corpus}\npath: '${art:data,path}'\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, '[here]\nexecutor = "local"\n[cluster]\nexecutor = "slurm"\naccount = "a"\n')


def test_the_maker_of_a_missing_artifact_is_named(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe", config=READS)
    with pytest.raises(ArtifactNotFoundError) as error:
        run_script(RecipeConfig(), script, maker={"corpus": "make it so"}.get)
    assert "Make it with: make it so" in str(error.value)
    with pytest.raises(ArtifactNotFoundError, match="no artifact 'corpus'"):
        run_script(RecipeConfig(), script)


def test_the_mode_decides_how_a_job_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, Job]] = []

    def detach(job: Job, _say: object, accepted: Callable[[Submitted], None]) -> None:
        started.append(("detached", job))
        accepted(Submitted("local", "process", "1", "hello-x"))

    monkeypatch.setattr(experiment, "run_attached", lambda job: started.append(("attached", job)))
    monkeypatch.setattr(experiment, "run_detached", detach)
    script = write_recipe(tmp_path / "recipe", body="import pathlib\npathlib.Path('ran-here').write_text('x')")
    run_script(RecipeConfig(profile="here", mode=Mode.RUN), script)
    run_script(RecipeConfig(profile="here", mode=Mode.BATCH), script)
    assert [how for how, _ in started] == ["attached", "detached"]
    assert not (tmp_path / "ran-here").exists()
    run_script(RecipeConfig(), script)
    assert (tmp_path / "ran-here").exists()
