"""Everything can be seen whole: modules, functions, stage files, family tables."""

from __future__ import annotations

import pytest

from tests.guardrails import exemptions
from tests.guardrails.checkout import ROOT, files, functions, sources

MODULE_LINES = 400
MODULE_LINES_HARD = 600
FUNCTION_LINES = 60

# Glob from the root -> lines. A stage file shows one way of running; a family is one table.
SPECIAL = {
    "src/nemotron/cli/stages/*.py": 60,
    "src/nemotron/cli/nano3.py": 80,
}


def lines(text: str) -> int:
    return len(text.splitlines())


def test_modules_are_short() -> None:
    long = {source.name: lines(source.text) for source in sources() if lines(source.text) > MODULE_LINES}
    assert not [f"{name}: {count} lines" for name, count in long.items() if count > MODULE_LINES_HARD]
    problems = {name: f"{count} lines, more than {MODULE_LINES}" for name, count in long.items()}
    assert exemptions.unexempt(exemptions.MODULE_LINES, problems) == []


def test_functions_are_short() -> None:
    problems = {}
    for source in sources():
        for name, node in functions(source.tree):
            count = (
                (node.end_lineno or node.lineno) - node.lineno + 1
            )  # a table of test cases above it is no part of it
            if count > FUNCTION_LINES:
                problems[f"{source.name}:{name}"] = f"{count} lines, more than {FUNCTION_LINES}"
    assert exemptions.unexempt(exemptions.FUNCTION_LINES, problems) == []


@pytest.mark.parametrize(("pattern", "budget"), SPECIAL.items())
def test_stage_files_and_family_tables_are_short(pattern: str, budget: int) -> None:
    matching = [path for path in files() if path in set(ROOT.glob(pattern))]
    assert matching, f"nothing matches {pattern}"
    too_long = {path.name: count for path in matching if (count := lines(path.read_text(encoding="utf-8"))) > budget}
    assert too_long == {}
