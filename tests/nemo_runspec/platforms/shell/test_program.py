"""A script as one command: its arguments arrive as they are, and its output tells how far it came."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.shell.program import Run, script_text

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str) -> Path:
    script = folder / "script.sh"
    script.write_text(text, encoding="utf-8")
    return script


def ran(run: Run, login_shell: str = "sh", before: str = "") -> bytes:
    done = subprocess.run([login_shell, "-c", before + run.command], capture_output=True, check=False, timeout=30)
    run.error(done.stderr)
    return run.out(done.stdout)


def random_text(chosen: random.Random) -> str:
    letters = "ab \t\n\r'\"`$\\!*?~#&|;<>(){}[]=-é€😀\x01\x7f"
    return "".join(chosen.choice(letters) for _ in range(chosen.randrange(20)))


@pytest.mark.parametrize("seed", range(20))
def test_arguments_arrive_whatever_characters_they_have(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)  # noqa: S311 - the same ones each time
    arguments = tuple(random_text(chosen) for _ in range(5))
    run = Run(written(tmp_path, "printf '%s\\0' \"$@\"\n"), arguments)
    assert ran(run).decode().split("\0")[:-1] == list(arguments)
    assert run.code == 0


def test_neither_the_login_shells_words_nor_a_lost_end_are_the_scripts(tmp_path: Path) -> None:
    run = Run(written(tmp_path, "echo out; echo err >&2; exit 255\n"), ())
    assert ran(run, before="echo welcome; echo welcome >&2;") == b"out\n"
    assert (run.started, run.code, run.err) == (True, 255, "err\n")
    never = Run(written(tmp_path, "exit 0\n"), ())
    never.error(b"bash: not found\n")
    assert (never.started, never.code, never.err) == (False, None, "")


def test_a_script_that_ends_without_a_newline_is_told_whole(tmp_path: Path) -> None:
    lines: list[str] = []
    run = Run(written(tmp_path, "printf 'no newline' >&2; exit 4"), (), lines.append)
    ran(run)
    assert (run.code, run.err, lines) == (4, "no newline\n", ["no newline"])


def test_a_script_that_is_killed_has_a_code(tmp_path: Path) -> None:
    run = Run(written(tmp_path, "kill -KILL $$\n"), ())
    ran(run)
    assert run.code == 137


def test_a_script_may_include_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "words.sh").write_text('say() { echo "said $1"; }\n', encoding="utf-8")
    script = written(tmp_path, "set -u\n. ./words.sh\nsay it\n")
    assert "said" in script_text(script)
    assert ran(Run(script, ())) == b"said it\n"


@pytest.mark.parametrize(("argument", "words"), [("a\0b", "NUL"), ("x" * 120_000, "its input")])
def test_what_no_command_line_takes_is_refused(tmp_path: Path, argument: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Run(written(tmp_path, "true\n"), (argument,))
