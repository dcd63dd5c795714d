"""The commands that the documentation tells a reader to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.guardrails.checkout import ROOT, files

if TYPE_CHECKING:
    from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)(?P<marks>[\w ]*)")
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
        fails: Whether the page says that it fails, with a block that starts with ```console fails.
        output: The lines that the page shows below it.
    """

    page: Path
    line: int
    environment: dict[str, str]
    argv: tuple[str, ...]
    fails: bool = False
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Give page, line and command, which also names the test of it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.argv)}"


def pages() -> list[Path]:
    """Give every Markdown page of the project."""
    return [path for path in files() if path.suffix == ".md"]


@dataclass
class Typed:
    """A line that a page tells to type.

    Args:
        line: Where it starts, counted from 1.
        text: The line, continued ones joined.
        fails: Whether its block says that it fails.
        output: The lines shown below it.
    """

    line: int
    text: str
    fails: bool
    output: list[str] = field(default_factory=list)


def shell_lines(text: str) -> list[Typed]:
    """Give the typed lines of a page's shell blocks, continued lines joined.

    In a ```console block only lines with a prompt (`$ `) are typed, the rest is output; in the other shell blocks
    every line is.
    """
    typed: list[Typed] = []
    language = closing = None
    fails = continues = first = False
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if fence and closing is None:
            language, closing, fails = fence["language"], fence["ticks"], "fails" in fence["marks"].split()
            continues, first = False, True
        elif fence and closing is not None and fence["ticks"].startswith(closing):
            language, closing = None, None
        elif language in SHELLS:
            stripped = line.strip()
            if continues:
                typed[-1].text += stripped.removesuffix("\\")
            elif language == "console" and not stripped.startswith("$ "):
                if not first:
                    typed[-1].output.append(line)
                continue
            else:
                typed.append(Typed(number, stripped.removeprefix("$ ").removesuffix("\\"), fails))
                first = False
            continues = stripped.endswith("\\")
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
    for typed in shell_lines(page.read_text(encoding="utf-8")):
        lexer = shlex.shlex(typed.text, posix=True, punctuation_chars="&;|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&;|"):
                environment = {}
                while command and ASSIGNMENT.match(command[0]):
                    name, _, value = command.pop(0).partition("=")
                    environment[name] = value
                if command and command[0] in programs:
                    output = tuple(typed.output)
                    found.append(DocCommand(page, typed.line, environment, tuple(command), typed.fails, output))
                command = []
            else:
                command.append(word)
    return found
