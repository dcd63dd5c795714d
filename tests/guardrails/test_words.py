"""Nothing in the project ties it to one person's machine or to one place to download from."""

from __future__ import annotations

import re

from tests.guardrails import exemptions
from tests.guardrails.checkout import ROOT, files

# What stands in the checkout must be true on every machine; where packages come from is for pip's configuration to say.
FORBIDDEN = re.compile(
    r"""
    (?<![\w.$}~:-])/(?:root|work|Users/\w+|home/\w+)/  # somebody's home; not HOST:/root/in/a/container
    | \b(?:pypi\.org|pythonhosted\.org|download\.pytorch\.org|pypi\.nvidia\.com)\b
    """,
    re.VERBOSE,
)
THIS_FILE = "tests/guardrails/test_words.py"


def test_no_home_and_no_registry_is_named() -> None:
    problems = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for match in FORBIDDEN.finditer(line):
                if name != THIS_FILE:
                    problems[f"{name}:{match[0]}"] = f"line {number}"
    assert exemptions.unexempt(exemptions.WORDS, problems) == []


def test_the_pattern_finds_homes_and_registries() -> None:
    found = ["open('/root/x')", "/home/someone/data", "see https://pypi.org/simple", " /Users/me/x"]
    fine = [
        "~/.cache",
        "~/.cache:/root/.cache",
        "/workspace/data",
        "$HOME/x",
        "nvcr.io/nvidia/nemo",
        "build/root/x",
        "/homestead/x",
    ]
    assert [text for text in found if not FORBIDDEN.search(text)] == []
    assert [text for text in fine if FORBIDDEN.search(text)] == []
