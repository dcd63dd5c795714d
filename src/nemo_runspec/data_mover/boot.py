"""What the pod's side is made of: the command's prefix, its code, and what it is to do."""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import json
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from nemo_runspec.data_mover.archive import compress
from nemo_runspec.data_mover.chunks import encode
from nemo_runspec.data_mover.pod.variables import MORE_POD_VARIABLE, POD_VARIABLE, orders_digest
from nemo_runspec.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

POD_FOLDER: Final = Path(__file__).parent / "pod"
MODULES: Final = ("variables", "unpack", "rendezvous", "process", "view", "entry")
"""The pod's modules; each imports only those before it."""


@functools.cache
def command_prefix() -> tuple[str, ...]:
    """Give the words that stand before the job's command in a pod.

    Python is told not to look at `PYTHON*` variables and the working folder (`-I`): nothing there may take the place
    of a module of the standard library before the job's files are verified.
    """
    return ("python3", "-I", "-c", bare((POD_FOLDER / "load.py").read_text(encoding="utf-8")))


@functools.cache
def pod_code() -> str:
    """Give the pod's modules as one value, their digest before it."""
    modules = [(name, bare((POD_FOLDER / f"{name}.py").read_text(encoding="utf-8"))) for name in MODULES]
    text = json.dumps(modules, separators=(",", ":"), ensure_ascii=False).encode()
    data = compress(text)
    return f"{hashlib.sha256(data).hexdigest()}:{encode(data)}"


def pod_variables(value_bytes: int) -> dict[str, str]:
    """Give the pod's code in one variable, or two where a value may not be that long.

    Args:
        value_bytes: What one value may hold.

    Raises:
        PayloadError: Two of them are not enough.
    """
    code = pod_code()
    if len(code) > 2 * value_bytes:
        message = f"the pod's own code takes {len(code):,} bytes, and two variables of it {2 * value_bytes:,}"
        raise PayloadError(message)
    rest = code[value_bytes:]
    return {POD_VARIABLE: code[:value_bytes], **({MORE_POD_VARIABLE: rest} if rest else {})}


def boot_value(parameters: Mapping[str, Any]) -> str:
    """Give what the pod is to do as JSON, in ASCII and without `$`, which platforms expand.

    Args:
        parameters: What it is to do; `name` is the workload's name, or what stands for it until it is known.
    """
    whole = {**parameters, "check": orders_digest(parameters)}
    return json.dumps(whole, separators=(",", ":"), sort_keys=True).replace("$", "\\u0024")


def bare(source: str) -> str:
    """Give a module without its comments, docstrings, empty lines, and what only type checkers read.

    The text is cut, not generated anew, so that every version of Python gives the same.
    """
    lines = source.splitlines()
    gone: set[int] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if _is_docstring(node) or _is_for_checkers(node):
            gone.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and all(map(_is_docstring, node.body)):
            first = node.body[0]  # a docstring is all of it
            lines[first.lineno - 1] = " " * first.col_offset + "pass"
            gone.discard(first.lineno)
    kept = [line for number, line in enumerate(lines, start=1) if number not in gone and line.strip()]
    return "\n".join(kept) + "\n"


def _is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
