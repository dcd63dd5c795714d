from __future__ import annotations

import pytest

from nemo_runspec.rehearsal.expansion import Variable, expand, expand_environment

KNOWN = {"A": "one", "B": "$(A)", "": "nothing"}


# The rows are those of Kubernetes' own test of the expansion, and what jobs write.
@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$(A)", "one"),
        ("$(A)$(A)", "oneone"),
        ("$(B)", "$(A)"),
        ("x$(A)y", "xoney"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$(dirname x)", "$(dirname x)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$$$$(A)", "$$(A)"),
        ("a$$b", "a$b"),
        ("$A ${A}", "$A ${A}"),
        ("$", "$"),
        ("$$", "$"),
        ("$$$", "$$"),
        ("$(A", "$(A"),
        ("$(A$(A)", "$(A$(A)"),
        ("$()", "nothing"),
        ("two\nlines $(A)", "two\nlines one"),
    ],
)
def test_words_are_expanded_as_kubernetes_does_it(text: str, expanded: str) -> None:
    assert expand(text, KNOWN) == expanded


def test_a_variable_sees_those_before_it_and_the_last_of_a_name_wins() -> None:
    variables = (
        Variable("LATE", "$(FIRST)"),
        Variable("FIRST", "1"),
        Variable("SECOND", "$(FIRST)2"),
        Variable("SECRET", "$(FIRST) $$", is_literal=True),
        Variable("FIRST", "3"),
    )
    expected = {"LATE": "$(FIRST)", "FIRST": "3", "SECOND": "12", "SECRET": "$(FIRST) $$"}
    assert expand_environment(variables) == expected
