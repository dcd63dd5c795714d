from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.errors import JobFailedError, ProfileError
from nemo_runspec.job import Job, compile_job
from nemo_runspec.submit.experiment import run_attached, run_detached
from tests.nemo_runspec.recipes import write_env_file, write_recipe

PROFILE = """
[here]
executor = "local"
secrets = ["A_TOKEN"]
env_vars = { MSG = "a 'b' $c", HF_HUB_DISABLE_IMPLICIT_TOKEN = "1", B_TOKEN = "canary-literal" }
startup_commands = ["export LATER=1"]

[cluster]
executor = "slurm"
account = "a"
"""

BODY = "import os\nprint(os.environ['MSG'], os.environ['LATER'], os.environ['A_TOKEN'] == 'canary-0123456789')"


def _job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str = BODY, profile: str = "here") -> Job:
    here = tmp_path / "it's a folder"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("A_TOKEN", "canary-0123456789")
    write_env_file(here, PROFILE)
    return compile_job(write_recipe(tmp_path / "recipe", body=body), RecipeConfig(profile=profile, mode=Mode.RUN))


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


def test_an_executor_without_a_factory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(tmp_path, monkeypatch, profile="cluster")
    for start in (run_attached, run_detached):
        with pytest.raises(ProfileError, match="executor 'slurm'"):
            start(job)
    assert not job.job_dir.exists()


def test_a_detached_job_outlives_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _job(tmp_path, monkeypatch)
    submission = run_detached(job)
    client = os.pidfd_open(submission.pid)
    assert select.select([client], [], [], 120)[0] == [client]
    os.close(client)
    assert os.waitpid(submission.pid, 0)[1] == 0
    assert (job.job_dir / "job.log").read_text(encoding="utf-8") == "a 'b' $c 1 True\n"
    assert (job.job_dir / "exit_code").read_text(encoding="utf-8") == "0\n"
