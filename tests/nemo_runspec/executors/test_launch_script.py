from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

from nemo_runspec.executors.launch_script import launch_script

if TYPE_CHECKING:
    from pathlib import Path

AWKWARD = ["two words", "it's", '"q"', "$HOME", "`id`", "a;b", "new\nline", "é→", "", "$$"]


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a launch script as a pod does, where nothing is linked to /nemo_run."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    path = folder / "launch.sh"
    path.write_text(script, encoding="utf-8")
    environment = {"PATH": "/usr/bin:/bin", "NEMO_RUNSPEC_JOB_DIR": str(folder), **variables}
    return subprocess.run(
        ["/bin/bash", path], capture_output=True, text=True, encoding="utf-8", check=False, env=environment
    )


def test_the_command_is_run_word_for_word_in_the_working_directory(tmp_path: Path) -> None:
    program = 'pwd; printf "%s\\0" "$@"'
    done = run(launch_script(shlex.join(["bash", "-c", program, "x", *AWKWARD])), tmp_path)
    place, _, words = done.stdout.partition("\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert place == str(tmp_path / "code")
    assert words.split("\0")[:-1] == AWKWARD


def test_a_variable_of_the_pod_reaches_the_command(tmp_path: Path) -> None:
    done = run(launch_script("echo --node-rank $NODE_RANK"), tmp_path, NODE_RANK="3")
    assert done.stdout == "--node-rank 3\n"


def test_the_exit_code_is_the_commands_own(tmp_path: Path) -> None:
    assert run(launch_script("bash -c 'exit 7'"), tmp_path).returncode == 7
    # The shell is gone, so that a signal to the process is the command's to answer.
    done = run(launch_script("bash -c 'echo $$ $PPID'", startup_commands=["echo $$"]), tmp_path)
    shell, command = done.stdout.splitlines()
    assert command.split()[0] == shell


def test_steps_run_in_their_order_and_a_failing_one_ends_the_job(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "python"
    pip.write_text('#!/bin/bash\necho "$@"\n', encoding="utf-8")
    pip.chmod(0o755)
    script = launch_script(
        "echo command",
        pip_extras=["omegaconf>=2.3", "x y"],
        pre_launch_commands=["echo before"],
        startup_commands=["export A=1", "echo startup $A"],
        clone_lines=["echo clone"],
        folders=["nsys_profile"],
    )
    done = run(script, tmp_path, PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    installed = "-m pip install --quiet --no-input omegaconf>=2.3 x y"
    assert done.stdout.splitlines() == ["clone", installed, "before", "startup 1", "command"]
    assert (tmp_path / "nsys_profile").is_dir()
    failed = run(launch_script("echo command", startup_commands=["false"]), tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "startup command failed: false\n"


def test_without_its_working_directory_nothing_runs(tmp_path: Path) -> None:
    done = run(launch_script("echo command"), tmp_path, NEMO_RUNSPEC_JOB_DIR=str(tmp_path / "missing"))
    assert (done.returncode, done.stdout) == (1, "")


def test_a_job_folder_with_spaces_needs_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "it's a; $HOME"
    script = launch_script("pwd", folders=["nsys profile"])
    assert "/nemo_run" not in script
    done = run(script, folder)
    assert (done.stdout, done.stderr) == (f"{folder}/code\n", "")
    assert (folder / "nsys profile").is_dir()
