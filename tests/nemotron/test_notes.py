from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nemotron.notes import note
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_note_is_printed_once_for_all_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = stage(tmp_path)
    for rank in range(3):
        note(replace(first, rank=rank), "resuming from step 20")
    assert capsys.readouterr().out == "test  resuming from step 20\n"
