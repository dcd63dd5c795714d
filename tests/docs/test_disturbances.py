"""The tests that CONTRIBUTING lists as disturbing a client or a twin are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.guardrails.checkout import ROOT

TESTS = ROOT / "tests" / "nemo_runspec"
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^\| `([\w/]+\.py)::(test_\w+)` \|", PAGE, re.MULTILINE)


def test_there_is_a_list() -> None:
    assert len(LISTED) > 20
    assert len(set(LISTED)) == len(LISTED)


@pytest.mark.parametrize("file", sorted({file for file, _ in LISTED}))
def test_a_listed_test_is_there(file: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name for listed, name in LISTED if listed == file} <= known


def test_every_test_with_a_fault_of_the_twin_is_listed() -> None:
    for file in ("rehearsal/test_server.py", "rehearsal/test_clients.py"):
        text = (TESTS / file).read_text(encoding="utf-8")
        tree = ast.parse(text)
        tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        disturbing = {node.name for node in tests if "FaultKind." in (ast.get_source_segment(text, node) or "")}
        assert disturbing <= {name for listed, name in LISTED if listed == file}
