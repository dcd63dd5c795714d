from __future__ import annotations

import ast
import textwrap

import pytest

from nemotron.data_prep.corpus import Document
from nemotron.data_prep.functions import Function, argument_names, documented_functions

MODULE = '''
class Box:
    @property
    async def get(self, key, /, *rest,
                  default=None, **options):
        """Get a thing.

        More words.
        """
        # first of all
        return default


def short(a): "one line"


def only_words():
    """Nothing else."""


def plain(a):
    return a


def add(a, b=2):
    r"""Add."""
    return a + b
'''


def functions(text: str) -> list[Function]:
    return list(documented_functions(Document("module.py", text)))


def test_functions_with_a_docstring_and_a_body_are_found() -> None:
    add, get = functions(MODULE)
    assert add == Function(
        "module.py", "add", ("a", "b"), 'def add(a, b=2):\n    r"""Add."""', "def add(a, b=2):\n    return a + b"
    )
    assert get.arguments == ("self", "key", "*rest", "default", "**options")
    assert get.prompt.startswith("async def get(self, key, /, *rest,\n")
    assert get.prompt.endswith('More words.\n    """')
    assert get.source.endswith("default=None, **options):\n    # first of all\n    return default")


def test_a_source_is_python_and_does_not_repeat_the_docstring() -> None:
    for function in functions(MODULE):
        (node,) = ast.parse(function.source).body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(node) is None
        assert argument_names(node.args) == function.arguments


def test_a_string_at_the_margin_is_left_alone() -> None:
    text = textwrap.dedent('''
        class A:
            def f(self):
                """Doc."""
                return """
        at the margin"""
        ''')
    assert functions(text) == []


@pytest.mark.parametrize("text", ["def f(:", "x = \0", "def f():\n  '''a''' ; return 1\n"])
def test_what_cannot_be_read_gives_nothing(text: str) -> None:
    assert functions(text) == []
