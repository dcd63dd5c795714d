"""Every thing has one place: little code stands in the project twice."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.guardrails.checkout import ROOT, Source, sources
from tests.guardrails.repetition import measure

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = 0.05

BODY = """
    total = 0
    for row in rows:
        if row > 2:
            total += row
        else:
            total -= 1
    return total
"""


def source_of(name: str, text: str) -> Source:
    path: Path = ROOT / name
    return Source(path, text, ast.parse(text))


@pytest.mark.parametrize("package", ["src/nemo_runspec", "src/nemotron", "tests"])
def test_little_is_repeated(package: str) -> None:
    found = measure(sources(package))
    assert found.total > 0
    listing = "\n".join(found.places)
    assert found.share < BUDGET, f"{found.repeated} of {found.total} lines of {package} are copies:\n{listing}"


def test_the_measure_finds_a_copy_with_other_spacing_and_remarks() -> None:
    copy = BODY.replace("total = 0", "total  =  0  # start").replace("        if", "\n        if")
    one = source_of("one.py", f'def first(rows):\n    """Say something."""{BODY}')
    two = source_of("two.py", f"import os\n\ndef second(rows):{copy}")
    found = measure([one, two])
    assert (found.repeated, found.total) == (7, 16)
    assert found.places == ("two.py:4 repeats one.py:3",)


def test_the_measure_does_not_take_the_rows_of_a_table_for_copies() -> None:
    table = source_of("table.py", "rows = [\n" + "".join(f'    ("{name}", 1),\n' for name in "abcdefghijkl") + "]\n")
    assert measure([table]).repeated == 0
