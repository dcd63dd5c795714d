"""The files of the checkout, as the guardrails see them."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PACKAGES = ("nemo_runspec", "nemotron")
SCRIPT_FOLDERS = ("scripts", "benchmarks", "recipes")


@dataclass(frozen=True)
class Comment:
    """A comment in a source file.

    Args:
        line: Line number counted from 1.
        text: What stands behind the first `#`.
    """

    line: int
    text: str


@dataclass(frozen=True)
class Source:
    """A Python file, parsed.

    Args:
        path: The file.
        text: What stands in it.
        tree: Its syntax tree.
    """

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Give the path from the root of the checkout, as the messages and the exemptions name it."""
        return self.path.relative_to(ROOT).as_posix()

    def comments(self) -> list[Comment]:
        """Give every comment; a `#` inside a string is none."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [Comment(token.start[0], token.string[1:].strip()) for token in tokens if token.type == tokenize.COMMENT]


@cache
def files() -> tuple[Path, ...]:
    """Give every file that is part of the project: git's view of it, new files included, ignored ones left out."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return tuple(sorted(path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts[-1]))
    command = [git, "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(path for name in listing.split("\0") if name and (path := ROOT / name).is_file()))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Give the Python files below some folders of the root, such as "src/nemotron"; all of the project's when none."""
    found = []
    for path in files():
        inside = not folders or any(path.is_relative_to(ROOT / folder) for folder in folders)
        if path.suffix == ".py" and inside:
            text = path.read_text(encoding="utf-8")
            found.append(Source(path, text, ast.parse(text, filename=str(path))))
    return tuple(found)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Give every function and method of a module with its dotted name, nested ones included."""
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        prefix, parent = pending.pop()
        for node in ast.iter_child_nodes(parent):
            inner = prefix
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{prefix}{node.name}."
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inner[:-1], node
            pending.append((inner, node))


def module_name(path: Path) -> str:
    """Give the dotted name of a file below src, such as "nemo_runspec.config.load"."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: Source) -> Iterator[tuple[int, str]]:
    """Give the line and the absolute name of every import in a file below src, wherever in the file it stands.

    `from package import name` gives "package.name", because only the name says which module is meant; where it is no
    module but a function, the name's parents still say the right thing.
    """
    inside = module_name(source.path).split(".")
    package = inside if source.path.name == "__init__.py" else inside[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parent = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            yield from ((node.lineno, f"{parent}.{alias.name}") for alias in node.names)
