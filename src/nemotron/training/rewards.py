"""A reward that can be checked: is the answer Python, and is it the function that was asked for?"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemotron.data_prep.functions import argument_names

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARSES = 0.3
_NAME = 0.35
_ARGUMENTS = 0.35
# What a part earns at most that is close, but not right: there must be something to gain by getting it right.
_CLOSE = 0.5

_HEADER = re.compile(r"(?:async\s+)?def\s+\w+\s*\([^()]*(?:\([^()]*\)[^()]*)*\)[^:\n]*:")


@dataclass(frozen=True, slots=True)
class Score:
    """The parts of a reward, each between 0 and 1.

    Args:
        parses: 1 for an answer that is Python as a whole; half of the part of its lines that is, otherwise.
        name: 1 for the right name; half of the likeness of another one.
        arguments: 1 for the right arguments in their order; half of the likeness of others.
    """

    parses: float
    name: float
    arguments: float

    @property
    def reward(self) -> float:
        """The weighted sum, between 0 and 1."""
        return _PARSES * self.parses + _NAME * self.name + _ARGUMENTS * self.arguments


def score_function(answer: str, name: str, arguments: Sequence[str]) -> Score:
    """Score an answer that should be one function.

    Args:
        answer: The text that the model wrote.
        name: The name the function should have.
        arguments: Its arguments in order, with the stars of those that collect the rest.
    """
    share, tree = _longest_parsing_part(answer)
    function = _first_function(tree) or _first_header(answer)
    parses = 1.0 if share == 1 else _CLOSE * share
    if function is None:
        return Score(parses, 0.0, 0.0)
    found = argument_names(function.args)
    return Score(parses, _likeness(function.name, name), _likeness(found, tuple(arguments)))


class Scorer:
    """Scores many answers at once; a worker that needs no engine."""

    def score(self, answers: Sequence[str], names: Sequence[str], arguments: Sequence[Sequence[str]]) -> list[float]:
        """Give the reward of each answer; see `score_function`.

        Args:
            answers: What was written.
            names: What each function should be called.
            arguments: What each function should take.
        """
        triples = zip(answers, names, arguments, strict=True)
        return [score_function(*triple).reward for triple in triples]


def _likeness(found: Sequence[str], wanted: Sequence[str]) -> float:
    if found == wanted:
        return 1.0
    return _CLOSE * difflib.SequenceMatcher(None, found, wanted, autojunk=False).ratio()


def _longest_parsing_part(answer: str) -> tuple[float, ast.Module | None]:
    """Give the share of the lines, from the first, that are Python, and what they are."""
    lines = answer.rstrip().split("\n")
    for count in range(len(lines), 0, -1):
        tree = _parse("\n".join(lines[:count]))
        if tree is not None and tree.body:
            return count / len(lines), tree
    return 0.0, None


def _first_function(tree: ast.Module | None) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    nodes = tree.body if tree is not None else []
    return next((node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)


def _first_header(answer: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Read a function's first line where its body is not Python."""
    header = _HEADER.match(answer.lstrip())
    return _first_function(_parse(f"{header.group()} pass")) if header else None


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # A model's answers hold doubtful escapes and comparisons; they are Python all the same.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
