from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from nemo_runspec.errors import DataError
from nemotron.cli.main import app
from tests.guardrails.test_startup import HEAVY, run_and_list_imports
from tests.nemotron.data_prep.inspect.prepared import packed_data, pretrain_data, rl_data, write_pair

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def show(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["kit", "data", "show", *map(str, arguments)])


def show_on_terminal(path: Path, **variables: str) -> str:
    """Run the command with a terminal as its output."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | variables
    command = [sys.executable, "-m", "nemotron", "kit", "data", "show", str(path), "--row", "0"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        chunks = []
        with contextlib.suppress(OSError):  # what Linux answers when the other end is closed
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
    os.close(ours)
    assert process.returncode == 0
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_a_pair_without_colours(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    result = show(tmp_path / "train/web")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"token pair  {tmp_path}/train/web"
    assert "  dtype            uint16" in lines
    assert f"  tokenizer        {tmp_path}/tokenizer" in lines
    # A control character in the data does not reach the terminal, and only the real special token is marked.
    assert lines[-1] == "  | <|endoftext|> ␛[31m漢⟨<|endoftext|>⟩"
    assert "⟨special token⟩" in lines


def test_a_mask_in_brackets(tmp_path: Path) -> None:
    packed_data(tmp_path)
    text = show(tmp_path / "splits/train", "--row", 0).stdout
    assert "⟦trained on⟧, ⟨special token⟩" in text
    assert "  | ⟨<|im_start|>⟩user\n  | Add " in text
    assert "  | ⟨<|im_start|>⟩assistant\n  | ⟦a + " in text
    assert "⟨<|im_end|>⟩\n  | ⟧" in text
    assert "⟧⟨<|endoftext|> x" in text
    assert text.count("⟦") == text.count("⟧")


def test_a_mask_in_colours(tmp_path: Path) -> None:
    packed_data(tmp_path)
    text = show_on_terminal(tmp_path / "splits/train")
    assert "⟦" not in text
    assert "\x1b[7m<|im_start|>\x1b[0m" in text
    assert "\x1b[32ma + " in text
    assert "\x1b[32m\x1b[7m<|im_end|>\x1b[0m" in text
    plain = show_on_terminal(tmp_path / "splits/train", NO_COLOR="1")
    assert "⟦a + " in plain
    assert "\x1b" not in plain


def test_an_overview(tmp_path: Path) -> None:
    pretrain_data(tmp_path)
    lines = show(tmp_path, "--rows", 0).stdout.splitlines()
    assert "  test          none" in lines
    assert lines[lines.index("train") + 1].split() == ["weight", "percent", "sequences", "tokens", "prefix"]
    assert lines[lines.index("train") + 2].split()[:3] == ["0.75", "75.0", "2"]
    assert "test" not in lines


def test_long_tables_are_cut(tmp_path: Path) -> None:
    for number in range(25):
        write_pair(tmp_path / f"{number:02}", [[number]])
    text = show(tmp_path, "--rows", 0).stdout
    assert f"{tmp_path}/19\n  ... and 5 more\n" in text
    assert len(json.loads(show(tmp_path, "--json").stdout)["all"]) == 25


def test_one_json_object(tmp_path: Path) -> None:
    packed_data(tmp_path)
    document = json.loads(show(tmp_path / "splits/train", "--rows", 1, "--json").stdout)
    assert document["kind"] == "packed rows"
    assert document["files"] == 2
    assert document["tokenizer"] == str(tmp_path / "tokenizer")
    row = document["rows_shown"][0]
    assert (row["row"], row["sequence"], row["start"]) == (0, 0, 0)
    assert len(row["ids"]) == len(row["trained_on"])
    assert row["text"][0] == {"text": "<|im_start|>", "trained": False, "special": True, "times": 1}
    rl_data(tmp_path / "rl")
    assert json.loads(show(tmp_path / "rl", "--json").stdout)["splits"][0]["records"] == 12


def test_records(tmp_path: Path) -> None:
    rl_data(tmp_path)
    text = show(tmp_path / "val").stdout
    assert 'row 0: val.jsonl:1\n  | {\n  |   "prompt": "Say 0",\n' in text
    assert "special token" not in text


def test_errors_end_with_two(tmp_path: Path) -> None:
    failure = show(tmp_path / "nothing")
    assert isinstance(failure.exception, DataError)
    assert failure.exception.exit_code == 2
    pretrain_data(tmp_path)
    (tmp_path / "train/web.bin").unlink()
    for more in ((), ("--json",)):
        damaged = show(tmp_path, *more)
        assert damaged.exit_code == 2
    assert json.loads(damaged.stdout)["problems"] == [f"{tmp_path}/train/web.bin: the token file does not exist"]
    assert "web.bin: the token file does not exist" in show(tmp_path).stderr
    assert show(tmp_path, "--rows", -1).exit_code == 2


def test_help_has_examples_and_imports_nothing_heavy(tmp_path: Path) -> None:
    output, imported = run_and_list_imports(tmp_path, "kit", "data", "show", "--help")
    assert "nemotron kit data show splits/train --row 12" in output
    assert sorted(imported & HEAVY) == []
    assert "show" in CliRunner().invoke(app, ["kit", "data", "--help"]).stdout
