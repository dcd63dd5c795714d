from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.errors import JobFailedError
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.journal import Journal
from nemo_runspec.job import Job, compile_job
from nemo_runspec.platforms.workload import JobState, Submitted
from nemo_runspec.submit.experiment import run_attached, run_detached
from tests.nemo_runspec.recipes import write_env_file, write_recipe

PROFILE = """
[here]
executor = "local"
secrets = ["A_TOKEN"]
env_vars = { MSG = "a 'b' $c", HF_HUB_DISABLE_IMPLICIT_TOKEN = "1", B_TOKEN = "canary-literal" }
startup_commands = ["export LATER=1"]
"""

BODY = "import os\nprint(os.environ['MSG'], os.environ['LATER'], os.environ['A_TOKEN'] == 'canary-0123456789')"


def _job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str = BODY) -> Job:
    here = tmp_path / "it's a folder"
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("A_TOKEN", "canary-0123456789")
    write_env_file(here, PROFILE)
    return compile_job(write_recipe(tmp_path / "recipe", body=body), RecipeConfig(profile="here", mode=Mode.RUN))


def test_an_attached_job_runs_through_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(tmp_path, monkeypatch)
    run_attached(job)
    assert (job.job_dir / "job.log").read_text(encoding="utf-8") == "a 'b' $c 1 True\n"
    home = Path(os.environ["NEMORUN_HOME"])
    experiments = list((home / "experiments" / "test-hello").iterdir())
    assert len(experiments) == 1
    written = [path for folder in (home, job.job_dir) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in written if b"canary" in path.read_bytes()]


def test_every_variable_reaches_the_job_and_none_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("GREETING", "MSG", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "B_TOKEN", "A_TOKEN", "NEMO_RUN_DIR")
    job = _job(tmp_path, monkeypatch, f"import os\nprint(*(name for name in {names} if name not in os.environ), 'end')")
    before = dict(os.environ)
    run_attached(job)
    assert (job.job_dir / "job.log").read_text(encoding="utf-8") == "end\n"
    assert {name: os.environ.get(name) for name in names} == {name: before.get(name) for name in names}


def test_the_exit_code_is_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobFailedError) as error:
        run_attached(_job(tmp_path, monkeypatch, "raise SystemExit(3)"))
    assert error.value.exit_code == 3


def test_a_detached_job_outlives_the_call_and_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Submitted] = []
    job = _job(tmp_path, monkeypatch)
    submitted = run_detached(job, print, told.append)
    assert told == [submitted]
    client = os.pidfd_open(int(submitted.id))
    assert select.select([client], [], [], 120)[0] == [client]
    os.close(client)
    assert os.waitpid(int(submitted.id), 0)[1] == 0
    assert (job.job_dir / "job.log").read_text(encoding="utf-8") == "a 'b' $c 1 True\n"
    assert (job.job_dir / "exit_code").read_text(encoding="utf-8") == "0\n"
    entry = Journal(os.environ["NEMORUN_HOME"]).read(submitted.name)
    assert connect("local", entry.connection).look(entry.submitted).state is JobState.SUCCEEDED


def test_the_same_detached_job_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"
    job = _job(tmp_path, monkeypatch, body)
    first = run_detached(job, print, lambda _: None)
    again = _job(tmp_path, monkeypatch, body)
    assert again.job_dir != job.job_dir
    assert run_detached(again, print, lambda _: None) == first
    assert not again.job_dir.exists()
    (Path.cwd() / "go").touch()
    assert os.waitpid(int(first.id), 0)[1] == 0
