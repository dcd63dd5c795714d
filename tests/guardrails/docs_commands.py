"""The commands that the documentation tells a reader to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.guardrails.checkout import ROOT, files

if TYPE_CHECKING:
    from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)")
SHELLS = frozenset({"bash", "sh", "shell", "console"})
ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")


@dataclass(frozen=True)
class DocCommand:
    """A command in a page.

    Args:
        page: The page.
        line: The line it starts on, counted from 1.
        environment: Variables set in front of it, as NAME -> value.
        argv: The program and its arguments.
    """

    page: Path
    line: int
    environment: dict[str, str]
    argv: tuple[str, ...]

    def __str__(self) -> str:
        """Give page, line and command, which also names the test of it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.argv)}"


def pages() -> list[Path]:
    """Give every Markdown page of the project."""
    return [path for path in files() if path.suffix == ".md"]


def shell_lines(text: str) -> list[tuple[int, str]]:
    """Give the typed lines of a page's shell blocks, continued lines joined.

    In a ```console block only lines with a prompt (`$ `) are typed, the rest is output; in the other shell blocks
    every line is.
    """
    typed: list[tuple[int, str]] = []
    language = closing = None
    continued = ""
    start = 0
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if fence and closing is None:
            language, closing = fence["language"], fence["ticks"]
        elif fence and closing is not None and fence["ticks"].startswith(closing):
            language, closing, continued = None, None, ""
        elif language in SHELLS:
            stripped = line.strip()
            if not continued:
                if language == "console" and not stripped.startswith("$ "):
                    continue
                start, stripped = number, stripped.removeprefix("$ ")
            continued += stripped.removesuffix("\\")
            if not stripped.endswith("\\"):
                typed.append((start, continued))
                continued = ""
    return typed


def commands_in(page: Path, programs: frozenset[str]) -> list[DocCommand]:
    """Give the commands of a page that start one of some programs.

    Args:
        page: A Markdown file.
        programs: Names such as "nemotron" and "make".

    Returns:
        One entry for each, also where several stand in one line, joined by `&&`, `;` or `|`.
    """
    found = []
    for number, line in shell_lines(page.read_text(encoding="utf-8")):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&;|"):
                environment = {}
                while command and ASSIGNMENT.match(command[0]):
                    name, _, value = command.pop(0).partition("=")
                    environment[name] = value
                if command and command[0] in programs:
                    found.append(DocCommand(page, number, environment, tuple(command)))
                command = []
            else:
                command.append(word)
    return found
