"""The one table of exemptions from the guardrails: rule, then what is exempt, then why.

An exemption that is no longer needed fails the rule's own test, so that the table only holds what is true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Files over 400 lines (never over 600).
MODULE_LINES: dict[str, str] = {}

# "file:function" over 60 lines.
FUNCTION_LINES: dict[str, str] = {}

# "file:function" outside the command line that prints or exits, besides `if __name__ == "__main__":` blocks.
SPEAKS: dict[str, str] = {}

# Modules of src without a test file of their own -> the test file that covers them, and why there.
TESTED_ELSEWHERE: dict[str, tuple[str, str]] = {
    "src/nemo_runspec/rehearsal/pod.py": (
        "tests/nemo_runspec/rehearsal/test_sandbox.py",
        "values and protocols only, and that test runs pods made of them",
    ),
    "src/nemo_runspec/__init__.py": (
        "tests/guardrails/test_public_names.py",
        "gives out the names of other modules, and that is what this test checks",
    ),
}

# "file:word" that the list of forbidden words would refuse.
WORDS: dict[str, str] = {}


def unexempt(rule: Mapping[str, object], offenders: Mapping[str, str]) -> list[str]:
    """Give what a rule has to complain about, one line each.

    Args:
        rule: The rule's table above.
        offenders: What breaks the rule -> what is wrong with it.

    Returns:
        Offenders without an exemption, and exemptions without an offender.
    """
    complaints = [f"{name}: {problem}" for name, problem in offenders.items() if name not in rule]
    return complaints + [f"{name}: exempt, but nothing is wrong with it any more" for name in stale(rule, offenders)]


def stale(rule: Iterable[str], offenders: Iterable[str]) -> list[str]:
    """Give the exemptions that no longer exempt anything."""
    return sorted(set(rule) - set(offenders))
