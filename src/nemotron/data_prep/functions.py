"""Documented functions, found in Python source: the tiny recipes' conversations and prompts.

The user's turn is a function's signature and docstring, the assistant's turn its source, where the docstring is not
said again. What a correct answer must have, the name and the arguments, is read from the same source.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemotron.data_prep.corpus import Split, corpus_identity, split_of, standard_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.corpus import Document


@dataclass(frozen=True, slots=True)
class Function:
    """One documented function.

    Args:
        module: The document it was found in.
        name: Its name.
        arguments: Its arguments in order, with the stars that collect the rest: `("self", "*names", "**options")`.
        prompt: Its signature and docstring.
        source: Its source without the docstring.
    """

    module: str
    name: str
    arguments: tuple[str, ...]
    prompt: str
    source: str


def argument_names(arguments: ast.arguments) -> tuple[str, ...]:
    """List a function's arguments.

    Args:
        arguments: The node of its signature.
    """
    rest = [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    options = [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return (*positional, *rest, *(argument.arg for argument in arguments.kwonlyargs), *options)


def documented_functions(document: Document) -> Iterator[Function]:
    """Find the functions of a module that have a docstring and something to do.

    Args:
        document: Python source; a file that does not parse gives none.

    Yields:
        Functions and methods in the order of the source, without decorators, at the left margin.
    """
    with warnings.catch_warnings():
        # The standard library tests its own compiler on source that warns.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(document.text)
        except (SyntaxError, ValueError, RecursionError):
            return
        lines = document.text.split("\n")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
                function = _function(document.name, lines, node)
                if function is not None:
                    yield function


def functions_by_split(stage: Stage) -> tuple[dict[Split, list[Function]], str]:
    """Find the documented functions of the standard library.

    Args:
        stage: Whose progress to print.

    Returns:
        The functions of each part of the corpus, and a text that changes when the corpus does. No prompt and no source
        comes twice: the first of them stays, in the order train, rl, valid.
    """
    documents = standard_library()
    progress = stage.progress(len(documents), unit="module")
    found: dict[Split, list[Function]] = {"train": [], "rl": [], "valid": []}
    for number, document in enumerate(documents, 1):
        found[split_of(document.name)].extend(documented_functions(document))
        progress.update(number, functions=sum(len(functions) for functions in found.values()))
    seen: set[str] = set()
    for split in ("train", "rl", "valid"):
        fresh = []
        for function in found[split]:
            if seen.isdisjoint((function.prompt, function.source)):
                seen.update((function.prompt, function.source))
                fresh.append(function)
        found[split] = fresh
    return found, corpus_identity(documents)


def _function(module: str, lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function | None:
    docstring = node.body[0]
    last = node.body[-1].end_lineno or 0
    documented_to = docstring.end_lineno or 0
    # A function on one line, one that is only its docstring, or code after the docstring on the same line: no task.
    if docstring.lineno == node.lineno or node.body[-1] is docstring or node.body[1].lineno == documented_to:
        return None
    whole = textwrap.dedent("\n".join(lines[node.lineno - 1 : last]))
    signature = whole.split("\n")[: docstring.lineno - node.lineno]
    prompt = whole.split("\n")[: documented_to - node.lineno + 1]
    body = whole.split("\n")[documented_to - node.lineno + 1 :]
    source = "\n".join([*signature, *body]).rstrip()
    try:
        parsed = ast.parse(source).body[0]
    except (SyntaxError, ValueError):
        # A string that reaches the margin keeps the rest from being dedented.
        return None
    if not isinstance(parsed, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return Function(module, node.name, argument_names(node.args), "\n".join(prompt).rstrip(), source)
