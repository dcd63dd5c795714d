"""Help and completion answer at once: they import nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = frozenset(
    {
        "nemo_run",
        "torch",
        "ray",
        "transformers",
        "leptonai",
        "pandas",
        "datasets",
        "trl",
        "wandb",
        "matplotlib",
        "numpy",
    }
)
NEMOTRON = Path(sys.executable).parent / "nemotron"
COMPLETION = {
    "_NEMOTRON_COMPLETE": "complete_bash",
    "COMP_WORDS": "nemotron nano3 ",
    "COMP_CWORD": "2",
}


def run_and_list_imports(folder: Path, *arguments: str, **variables: str) -> tuple[str, set[str]]:
    """Run the command in an empty folder and give its output and the top-level modules it imported."""
    command = [sys.executable, "-X", "importtime", str(NEMOTRON), *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    timings = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip().split(".")[0] for line in timings}


@pytest.mark.parametrize(
    ("arguments", "shows"),
    [
        (["--help"], "nano3"),
        (["nano3", "--help"], "pretrain"),
        (["nano3", "sft", "--help"], "--dry-run"),
        (["env", "list"], ""),
    ],
)
def test_help_and_env_commands_import_nothing_heavy(tmp_path: Path, arguments: list[str], shows: str) -> None:
    output, imported = run_and_list_imports(tmp_path, *arguments)
    assert shows in output
    assert "nemotron" in imported, "the import log was not read"
    assert sorted(imported & HEAVY) == []


def test_completion_offers_the_stages_and_imports_nothing_heavy(tmp_path: Path) -> None:
    output, imported = run_and_list_imports(tmp_path, **COMPLETION)
    assert {"pretrain", "sft", "rl"} <= set(output.split())
    assert sorted(imported & HEAVY) == []
