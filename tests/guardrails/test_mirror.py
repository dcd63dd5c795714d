"""tests/ mirrors src/ file for file, so that the test of anything is found without searching."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.guardrails import exemptions
from tests.guardrails.checkout import ROOT, SRC, Source, sources

if TYPE_CHECKING:
    from pathlib import Path


def has_code(source: Source) -> bool:
    """Tell whether a module defines something; one that only re-exports has nothing to test."""
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in source.tree.body)


def mirror(path: Path) -> Path:
    """Give the test file of a file below src; a package's __init__ is tested in test_<package>.py beside its folder."""
    relative = path.relative_to(SRC)
    if path.name == "__init__.py":
        return ROOT / "tests" / relative.parent.parent / f"test_{relative.parent.name}.py"
    return ROOT / "tests" / relative.parent / f"test_{relative.name}"


def is_tested(path: Path) -> bool:
    """Tell whether a file below src has a test file: its own, or the one that tests its subpackage as a whole."""
    in_subpackage = path.parent.parent != SRC
    return mirror(path).is_file() or (in_subpackage and mirror(path.parent / "__init__.py").is_file())


def test_every_module_with_code_has_its_test_file() -> None:
    problems = {
        source.name: f"has no {mirror(source.path).relative_to(ROOT)}"
        for source in sources("src")
        if has_code(source) and not is_tested(source.path)
    }
    assert exemptions.unexempt(exemptions.TESTED_ELSEWHERE, problems) == []


def test_test_files_named_in_exemptions_exist() -> None:
    named = {test for test, _ in exemptions.TESTED_ELSEWHERE.values()}
    assert [test for test in sorted(named) if not (ROOT / test).is_file()] == []


def test_the_mirror_of_a_path() -> None:
    assert mirror(SRC / "nemo_runspec/config/load.py") == ROOT / "tests/nemo_runspec/config/test_load.py"
    assert mirror(SRC / "nemo_runspec/config/__init__.py") == ROOT / "tests/nemo_runspec/test_config.py"
