from __future__ import annotations

import pytest
from jinja2 import Environment

from nemotron.data_prep.chat.watched import find_watched


@pytest.mark.parametrize(
    ("template", "text", "reacts"),
    [
        ("{% if '</think>' in m.content %}{% endif %}", "a</think>b", True),
        ("{% if '</think>' in m.content %}{% endif %}", "a</thin", False),
        ("{% if '</think>' not in m.content %}{% endif %}", "</think>", True),
        ("{% set mark = '<x>' %}{% if mark in m.content %}{% endif %}", "a<x>", True),
        ("{{ m.content.split('##')[0] }}", "a##b", True),
        ("{{ m.content.rsplit('##')[0] }}", "a##b", True),
        ("{{ m.content.replace('q', 'r') }}", "aq", True),
        ("{{ m.content | replace('q', 'r') }}", "aq", True),
        ("{% if m.content.startswith('Note') %}{% endif %}", "Note", True),
        ("{{ m.content.lstrip('*') }}", "*a", True),
        ("{{ m.content.strip('*') }}", "a*a", False),
        ("{{ m.content | trim('*') }}", "a*", True),
        ("{{ m.content | trim }}", " a ", False),
        ("{% if m.content[:2] == 'xy' %}{% endif %}", "xyz", True),
        ("{% if m.content | trim == 'xy' %}{% endif %}", " xy", True),
        ("{% if m.role == 'user' %}{% endif %}", "the user", False),
        ("{% if m.role == 'user' %}{% endif %}", "user", True),
        ("{% if m['role'] == 'user' %}{% endif %}", "role", False),
        ("{% if m.role in ['user', 'tool'] %}{% endif %}", "a tool", False),
        ("{{ 'said' }}{{ m.content }}", "said", False),
    ],
)
def test_what_a_template_looks_for(template: str, text: str, reacts: bool) -> None:  # noqa: FBT001 a table's column
    watched = find_watched(Environment(autoescape=True).parse(template))
    assert watched.reacts(["first", text, "last"]) is reacts
    assert not watched.reacts([])


def test_more_to_look_for() -> None:
    watched = find_watched(Environment(autoescape=True).parse("{{ m.content }}"))
    assert watched.reacts(["a<|im_end|>"], "<|im_end|>")
    assert not watched.reacts(["a<|im_", "end|>"], "<|im_end|>")


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        ("{{ m.thinking }}", True),
        ("{{ m['thinking'] }}", True),
        ("{{ enable_thinking }}{{ thinking }}", False),
    ],
)
def test_whether_it_reads_thinking(template: str, reads: bool) -> None:  # noqa: FBT001 a table's column
    assert find_watched(Environment(autoescape=True).parse(template)).thinking is reads
