from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemotron.cli import main
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

NO_SOCKET = """\
import socket, subprocess, sys
def refuse(*arguments, **options):
    raise AssertionError("a dry-run opened or started something")
socket.socket.connect = socket.socket.bind = socket.getaddrinfo = refuse
subprocess.Popen.__init__ = refuse
import os
os.posix_spawn = os.fork = refuse
from nemotron.cli.main import main
sys.argv = ["nemotron", *sys.argv[1:]]
main()
"""


def _nemotron(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nemotron", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def _complete(words: str) -> list[str]:
    environment = {
        "_NEMOTRON_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    return CliRunner().invoke(main.app, [], env=environment, prog_name="nemotron").output.split()


def test_completion_offers_families_configurations_and_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, '[my-cluster]\nexecutor = "local"\n')
    assert "nano3" in _complete("nemotron n")
    assert {"pretrain", "sft", "rl", "eval", "pipe", "data"} <= set(_complete("nemotron nano3 "))
    assert _complete("nemotron nano3 sft -c ") == ["default", "tiny"]
    assert _complete("nemotron nano3 sft --run my") == ["my-cluster"]
    write_env_file(tmp_path, "[broken\n")
    assert _complete("nemotron nano3 sft --run my") == []


def test_the_version_is_shown() -> None:
    assert re.fullmatch(r"nemotron \d+\.\d+\.\d+\S*\n", CliRunner().invoke(main.app, ["--version"]).output)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["nano4", "sft"], ["No such command 'nano4'", "Did you mean 'nano3'"]),
        (["nano3", "stf"], ["No such command 'stf'", "Did you mean 'sft'"]),
        (["nano3", "data", "prep", "slf"], ["No such command 'slf'"]),
        (["nano3", "sft", "-c", "tinny"], ["no configuration 'tinny'", "Did you mean 'tiny'?"]),
        (["nano3", "sft", "-c", "./tiny.yaml"], ["'./tiny.yaml' does not exist"]),
        (["nano3", "sft", "tiny"], ["unexpected argument 'tiny'"]),
        (["nano3", "sft", "-c", "tiny", "--run", "nope"], ["env.toml", "there is no profile 'nope'"]),
        (["nano3", "sft", "-c", "tiny", "--run", "heer"], ["there is no profile 'heer'", "Did you mean 'here'?"]),
        (["nano3", "sft", "-c", "tiny", "--run", "typo"], ["env.toml:5", "nproc_per_nodes", "'nproc_per_node'"]),
        (["nano3", "sft", "-c", "tiny", "--run", "loop"], ["env.toml", "loop", "pool"]),
        (
            ["nano3", "sft", "-c", "tiny", "trian.steps=1"],
            ["no entry 'trian'", "Did you mean 'train'?", "++trian.steps=1"],
        ),
        (
            ["nano3", "sft", "-c", "tiny"],
            ["no artifact 'nano3-tiny-sft-data'", "Make it with: nemotron nano3 data prep sft -c tiny"],
        ),
        (["run", "plain.py"], ["plain.py:1", "no runspec block"]),
        (["run", "broken.py"], ["broken.py:4"]),
        (["run", "unknown.py"], ["unknown.py:4", "Did you mean 'image'?"]),
        (["env", "show", "typo"], ["env.toml:5"]),
        (["env", "check"], ["3 problems"]),
    ],
)
def test_mistakes_are_told_and_nothing_starts(tmp_path: Path, arguments: list[str], texts: list[str]) -> None:
    (tmp_path / "env.toml").write_text(
        '[here]\nexecutor = "local"\n[typo]\nexecutor = "local"\nnproc_per_nodes = 2\n'
        '[loop]\nextends = "pool"\n[pool]\nextends = "loop"\n',
        encoding="utf-8",
    )
    head = "# /// script\n# [tool.runspec]\n# name = 'a/b'\n"
    tail = "# [tool.runspec.run]\n# launch = 'direct'\n# ///\n"
    (tmp_path / "plain.py").write_text("print(1)\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text(f"{head}# x = = 1\n{tail}", encoding="utf-8")
    (tmp_path / "unknown.py").write_text(f"{head}# imaeg = 'x'\n{tail}", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    result = _nemotron(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    message = re.sub(r"\s+", " ", result.stderr)
    for text in texts:
        assert text in message
    assert "Traceback" not in message
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_starts_nothing_and_opens_no_socket(tmp_path: Path) -> None:
    write_env_file(tmp_path, '[here]\nexecutor = "local"\nsecrets = ["A_TOKEN"]\n')
    script = write_recipe(tmp_path / "recipe")
    before = sorted(tmp_path.rglob("*"))
    for line in (
        ["run", str(script), "--run", "here"],
        ["nano3", "pretrain", "-c", "tiny"],
        ["nano3", "pipe", "-c", "tiny"],
    ):
        command = [sys.executable, "-c", NO_SOCKET, *line, "--dry-run"]
        environment = {**os.environ, "A_TOKEN": "canary-0123456789"}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr
        assert "nothing was started" in result.stdout
        assert "canary" not in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupt_outside_a_job_ends_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupt)
    with pytest.raises(SystemExit) as error:
        main.main()
    assert error.value.code == 130


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/w/output"), "error: /w/output: Permission denied\n"),
        (OSError(28, "No space left on device", b"/w/x"), "error: /w/x: No space left on device\n"),
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (OSError("something odd"), "error: something odd\n"),
    ],
)
def test_what_the_machine_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, told: str
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(main, "app", refuse)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == told


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main.main()
