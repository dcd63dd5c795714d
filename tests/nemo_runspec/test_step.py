from __future__ import annotations

from pathlib import Path

from nemo_runspec.step import Step, StepReport


def test_the_prefix_of_overrides_is_one_word() -> None:
    assert Step("data prep sft", Path("x.py")).prefix == "data_prep_sft"


def test_a_row_has_the_fields_of_the_report_file() -> None:
    row = StepReport("sft", 1.5, tokens=3, curve=((1, 2.0),), details={"a": 1}).as_row()
    assert set(row) == {
        "name", "seconds", "tokens", "tokens_per_s", "metric", "first", "last", "artifact", "reused",
    }  # fmt: skip
