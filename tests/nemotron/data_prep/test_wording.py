"""How values are told in messages."""

from __future__ import annotations

import pytest

from nemotron.data_prep.wording import kind, shorten


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "null"), (True, "true or false"), (1, "a number"), (1.5, "a number"), ("a", "text"), ([], "a list")],
)
def test_kinds(value: object, said: str) -> None:
    assert kind(value) == said


def test_other_kinds() -> None:
    assert (kind({}), kind(b"")) == ("an object", "bytes")


def test_long_texts_are_shortened() -> None:
    assert (shorten("a" * 80), shorten("abcd", 3)) == ("a" * 80, "abc...")
