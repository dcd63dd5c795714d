"""The scripts that sbatch is given are recorded, so that a change of one is seen and meant."""

from __future__ import annotations

import pytest

from tests.golden.record import FOLDER, JOBS, text_of


@pytest.mark.parametrize("name", JOBS)
def test_a_jobs_script_is_the_recorded_one(name: str) -> None:
    recorded = (FOLDER / f"{name}.sbatch").read_text(encoding="utf-8")
    assert text_of(name) == recorded, "if that is meant: python -m tests.golden.record"


def test_every_recorded_script_is_of_a_job() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.sbatch" for name in JOBS}
