"""The page of the fault matrix has every row, and names tests that are there and run when it says."""

from __future__ import annotations

import ast
import re

import pytest

from tests.guardrails.checkout import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
LINE = re.compile(
    r"^\| (?P<row>\d+) \| (?P<fault>[^|]+) \| (?P<promise>[^|]+) \|"
    r" \[`(?P<file>[\w/]+\.py)`\]\(\.\./tests/(?P<link>[\w/]+\.py)\) `(?P<test>test_\w+)` \|$",
    re.MULTILINE,
)
LISTED = list(LINE.finditer(PAGE))


def named_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def takes_minutes(file: str) -> bool:
    return "pytestmark = pytest.mark.minutes" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_every_row_has_a_test() -> None:
    assert sorted({int(found["row"]) for found in LISTED}) == list(range(1, 29))
    assert len(LISTED) == len(re.findall(r"^\| \d+ \|", PAGE, re.MULTILINE)), "a line that cannot be read"


@pytest.mark.parametrize("file", sorted({found["file"] for found in LISTED}))
def test_a_listed_test_is_there_and_marked_as_it_runs(file: str) -> None:
    here = [found for found in LISTED if found["file"] == file]
    assert {found["test"] for found in here} <= named_in(file)
    assert {found["link"] for found in here} == {file}
    assert {"*slow*" in found["fault"] for found in here} == {takes_minutes(file)}


def test_every_test_of_the_matrix_is_listed() -> None:
    files = sorted((ROOT / "tests" / "clusters").glob("test_fault_matrix*.py"))
    rows = {name for path in files for name in named_in(f"clusters/{path.name}") if name.startswith("test_row")}
    assert rows
    assert rows <= {found["test"] for found in LISTED}
