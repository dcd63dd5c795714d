"""The messages that the troubleshooting page explains are ones that the program gives."""

from __future__ import annotations

import ast
import re

import pytest

from tests.guardrails.checkout import ROOT, sources

PAGE = ROOT / "docs" / "troubleshooting.md"
MESSAGES = re.findall(r"^#### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
# The kernel's own, in the words of strerror(3).
FOREIGN = frozenset({"argument list too long"})


def texts() -> list[str]:
    """Give the texts in the code, with `...` where a value is put in, and the scripts that pods see."""
    found = []
    for source in sources("src"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [*found, *(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.sh"))]


def is_given(message: str, known: list[str]) -> bool:
    """Tell whether one text has all that a message says, in its order, with a value wherever it says `...`."""
    pattern = re.compile(r"[\s\S]*".join(map(re.escape, message.split("..."))))
    return any(pattern.search(text) for text in known)


@pytest.fixture(scope="module")
def known() -> list[str]:
    return texts()


@pytest.mark.parametrize("message", sorted(set(MESSAGES) - FOREIGN))
def test_an_explained_message_is_in_the_code(message: str, known: list[str]) -> None:
    assert is_given(message, known)


def test_messages_are_told_from_others() -> None:
    text = ["profile '...' has no node group '...'"]
    assert is_given("profile '...' has no node group", text)
    assert not is_given("profile '...' has no project", text)
    assert not is_given("node group of profile '...'", text)


def test_the_page_explains_each_message_once() -> None:
    assert len(MESSAGES) > len(FOREIGN)
    assert sorted(MESSAGES) == sorted(set(MESSAGES))
