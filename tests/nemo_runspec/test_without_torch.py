"""Tests of leaving PyTorch out."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from nemo_runspec.without_torch import without_torch

if TYPE_CHECKING:
    import pytest

WITHIN = """
import sys
from nemo_runspec.without_torch import without_torch
with without_torch():
    import nemo_run
    {within}
{after}
"""


def run(within: str, after: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHIN.format(within=within, after=after)], capture_output=True, text=True, check=False
    )


def test_nemo_run_does_without_and_others_may_have_it_afterwards() -> None:
    ended = run("print(nemo_run.Script.__name__)", "assert 'torch' not in sys.modules; import torch; torch.zeros(1)")
    assert (ended.returncode, ended.stdout) == (0, "Script\n"), ended.stderr


def test_an_import_fails_as_where_it_is_not_installed() -> None:
    ended = run("import torch.nn")
    assert ended.returncode == 1
    assert "ModuleNotFoundError" in ended.stderr


def test_what_was_imported_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    with without_torch():
        assert sys.modules["torch"] is sys
    assert sys.modules["torch"] is sys


def test_nemo_run_would_import_it_otherwise() -> None:
    """When this fails, nemo-run has mended it, and `without_torch` can go."""
    code = "import sys; import nemo_run; sys.exit('torch' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
