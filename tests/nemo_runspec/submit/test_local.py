from __future__ import annotations

import io
import os
import select
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from nemo_runspec.context import RecipeConfig
from nemo_runspec.errors import JobFailedError, ProfileError
from nemo_runspec.job import compile_job
from nemo_runspec.submit.local import execute_local
from tests.nemo_runspec.recipes import LEAVES_ONE_RUNNING, write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

WAITS = """\
import os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["NEMO_RUNSPEC_JOB_DIR"]).parent
(here / "child").write_text(str(os.getpid()))
try:
    print("waiting", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    (here / "checkpoint").write_text("kept")
    sys.exit(130)
"""

START = "import sys; from nemotron.cli.main import main; sys.argv = ['nemotron', 'run', {script!r}]; main()"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_job_runs_and_is_recorded(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = "import os, sys\nprint(open(sys.argv[2]).read(), os.environ['GREETING'], sys.argv[3:])\n"
    job = compile_job(write_recipe(tmp_path / "recipe", body=body), RecipeConfig(passthrough=("--x", "a b")))
    execute_local(job)
    out = capfdbinary.readouterr().out
    assert b"hello there ['--x', 'a b']" in out
    assert (job.job_dir / "job.log").read_bytes() == out
    record = yaml.safe_load((job.job_dir / "job.yaml").read_text(encoding="utf-8"))
    assert record["name"] == "test/hello"
    assert record["provenance"]["packages"]["nemotron"]
    assert yaml.safe_load((job.job_dir / "train.yaml").read_text(encoding="utf-8")) == dict(job.train_config)


def test_a_script_may_read_json(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = "import json, sys\nprint(json.load(open(sys.argv[2]))['train']['lr'])"
    script = write_recipe(tmp_path / "recipe", body=body)
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace('# dir = "./config"', '# dir = "./config"\n# format = "json"'), encoding="utf-8")
    execute_local(compile_job(script, RecipeConfig()))
    assert capfdbinary.readouterr().out == b"0.001\n"


def test_only_the_owner_reads_the_job_folder(tmp_path: Path) -> None:
    job = compile_job(write_recipe(tmp_path / "recipe"), RecipeConfig())
    execute_local(job)
    assert stat.S_IMODE(job.job_dir.stat().st_mode) == 0o700
    files = [path for path in job.job_dir.iterdir() if path.is_file()]
    assert {"job.yaml", "train.yaml", "launch.sh", "job.log"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_exit_code_is_the_jobs(tmp_path: Path) -> None:
    job = compile_job(write_recipe(tmp_path / "recipe", body="raise SystemExit(3)"), RecipeConfig())
    with pytest.raises(JobFailedError, match="exit code 3") as error:
        execute_local(job)
    assert error.value.exit_code == 3


def test_a_signal_is_told_as_the_shell_does(tmp_path: Path) -> None:
    body = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(JobFailedError) as error:
        execute_local(compile_job(write_recipe(tmp_path / "recipe", body=body), RecipeConfig()))
    assert error.value.exit_code == 128 + signal.SIGKILL


def test_an_error_that_the_script_reports_takes_the_launchers_place(tmp_path: Path) -> None:
    body = (
        "import json, os, pathlib\n"
        "path = pathlib.Path(os.environ['NEMO_RUNSPEC_JOB_DIR']) / 'error.json'\n"
        "path.write_text(json.dumps({'message': 'line 3 is not JSON', 'exit_code': 2}))\n"
        "raise SystemExit(1)"
    )
    with pytest.raises(JobFailedError, match="line 3 is not JSON") as error:
        execute_local(compile_job(write_recipe(tmp_path / "recipe", body=body), RecipeConfig()))
    assert error.value.exit_code == 2


def test_secrets_reach_the_job_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env_file(
        tmp_path, '[here]\nexecutor = "local"\nsecrets = ["A_TOKEN"]\nenv_vars = { B_TOKEN = "literal-canary" }\n'
    )
    monkeypatch.setenv("A_TOKEN", "canary-0123456789")
    body = (
        "import os\n"
        "assert os.environ['A_TOKEN'] == 'canary-0123456789'\n"
        "assert os.environ['B_TOKEN'] == 'literal-canary'\n"
    )
    job = compile_job(
        write_recipe(tmp_path / "recipe", body=body), RecipeConfig(profile="here", argv=("x", "canary-0123456789"))
    )
    execute_local(job)
    written = b"".join(path.read_bytes() for path in job.job_dir.iterdir())
    assert b"canary" not in written


def test_a_secret_that_is_not_set_stops_the_job_before_anything_is_written(tmp_path: Path) -> None:
    write_env_file(tmp_path, '[here]\nexecutor = "local"\nsecrets = ["A_TOKEN"]\n')
    job = compile_job(write_recipe(tmp_path / "recipe"), RecipeConfig(profile="here"))
    with pytest.raises(ProfileError, match="A_TOKEN"):
        execute_local(job)
    assert not job.job_dir.exists()


def test_startup_commands_share_the_jobs_shell_and_stop_it_when_they_fail(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = write_env_file(tmp_path, '[here]\nexecutor = "local"\nstartup_commands = ["export LATER=1", "echo first"]\n')
    script = write_recipe(tmp_path / "recipe", body="import os\nprint(os.environ['LATER'])")
    execute_local(compile_job(script, RecipeConfig(profile="here")))
    assert capfdbinary.readouterr().out == b"first\n1\n"
    table = 'executor = "local"\nstartup_commands = ["bash -c \'exit 7\'"]\n'
    path.write_text(f"[here]\n{table}", encoding="utf-8")
    with pytest.raises(JobFailedError) as error:
        execute_local(compile_job(script, RecipeConfig(profile="here")))
    assert error.value.exit_code == 7
    assert capfdbinary.readouterr().out == b"startup command failed: bash -c 'exit 7'\n"


def test_a_job_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    body = "for number in range(20_000):\n    print('line', number, flush=True)"
    script = write_recipe(tmp_path / "recipe", body=body)
    command = [sys.executable, "-c", START.format(script=str(script))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        process.wait(timeout=60)
    (log,) = (tmp_path / "output" / "jobs").glob("*/job.log")
    assert log.read_text(encoding="utf-8").endswith("line 19999\n")


def test_a_notebooks_output_takes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cell(io.StringIO):
        """A stream without a buffer, as a notebook has it."""

    cell = Cell()
    monkeypatch.setattr(sys, "stdout", cell)
    execute_local(compile_job(write_recipe(tmp_path / "recipe", body="print('grüezi')"), RecipeConfig()))
    assert cell.getvalue() == "grüezi\n"


def test_what_a_job_leaves_running_does_not_keep_the_command(tmp_path: Path) -> None:
    execute_local(compile_job(write_recipe(tmp_path / "recipe", body=LEAVES_ONE_RUNNING), RecipeConfig()))
    os.kill(int((tmp_path / "left").read_text(encoding="utf-8")), signal.SIGKILL)


def _started(script: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(script=str(script))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


def _child(tmp_path: Path) -> int:
    return int((tmp_path / "output" / "jobs" / "child").read_text(encoding="utf-8"))


@pytest.mark.parametrize("status", [130, 0])
def test_ctrl_c_reaches_the_job_which_keeps_its_checkpoint(tmp_path: Path, status: int) -> None:
    process = _started(write_recipe(tmp_path / "recipe", body=WAITS.replace("130", str(status))))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert (tmp_path / "output" / "jobs" / "checkpoint").read_text(encoding="utf-8") == "kept"
    with pytest.raises(ProcessLookupError):
        os.kill(_child(tmp_path), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_job_ends_with_the_command_that_was_killed(tmp_path: Path) -> None:
    process = _started(write_recipe(tmp_path / "recipe", body=WAITS))
    child = os.pidfd_open(_child(tmp_path))
    process.kill()
    process.communicate(timeout=60)
    # A pidfd becomes readable when its process has ended.
    assert select.select([child], [], [], 60)[0] == [child]
    os.close(child)
