from __future__ import annotations

import ast
import textwrap
from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep import functions as functions_module
from nemotron.data_prep.corpus import Document, corpus_identity, split_of
from nemotron.data_prep.functions import Function, argument_names, documented_functions, functions_by_split
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from pathlib import Path

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


def documented(name: str, value: str = "a") -> str:
    return f'def {name}(a):\n    """Do {name}."""\n    return {value}\n'


def library(monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[Document]:
    documents = [Document(f"m{number}.py", text) for number, text in enumerate(texts)]
    monkeypatch.setattr(functions_module, "standard_library", lambda: documents)
    return documents


def test_functions_by_the_split_of_their_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = library(monkeypatch, *(documented(f"do_{number}") for number in range(80)))
    found, identity = functions_by_split(stage(tmp_path))
    assert identity == corpus_identity(documents)
    for split in ("train", "rl", "valid"):
        names = [f"do_{number}" for number in range(80) if split_of(f"m{number}.py") == split]
        assert names
        assert [function.name for function in found[split]] == names
    assert "test  module 80/80  functions 80" in capsys.readouterr().out


def test_a_function_that_stands_in_the_training_part_is_not_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(monkeypatch, *[documented("same")] * 80)
    found, _ = functions_by_split(stage(tmp_path))
    assert {split: len(functions) for split, functions in found.items()} == {"train": 1, "rl": 0, "valid": 0}


def test_no_prompt_and_no_source_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [documented(f"own_{number}") for number in range(80)]
    same_prompt = [documented("same", str(number)) for number in range(80)]
    same_source = [documented("other").replace("Do other", f"Do {number}") for number in range(80)]
    library(monkeypatch, *("\n\n".join(parts) for parts in zip(own, same_prompt, same_source, strict=True)))
    found, _ = functions_by_split(stage(tmp_path))
    everything = [function for functions in found.values() for function in functions]
    assert len({function.prompt for function in everything}) == len(everything) == 82
    assert len({function.source for function in everything}) == 82
    assert [function.name for function in found["train"]].count("same") == 1
