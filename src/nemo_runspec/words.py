"""Command lines whose words may hold variables that only the job knows, such as a node's rank."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What double quotes leave special in a shell, and a `$` that begins no variable.
_SPECIAL = re.compile(r'[\\"`]|\$(?![A-Za-z_{])')

_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
PLACEHOLDERS = ("script", "config")
"""What may stand in braces in a command that is written down for later."""


class Expanded(str):
    """A word in which `$NAME` and `${NAME}` stand for variables of the job's own environment.

    Everything else in it is taken literally, as in any other word.
    """

    __slots__ = ()

    def quoted(self) -> str:
        """Give the word for a shell, which fills in the variables and changes nothing else."""
        return '"' + _SPECIAL.sub(lambda found: f"\\{found[0]}", self) + '"'


def join(words: Iterable[str]) -> str:
    """Give a command line for a shell that takes each word as it is, but for the variables of `Expanded` ones."""
    return " ".join(word.quoted() if isinstance(word, Expanded) else shlex.quote(word) for word in words)


def startup_lines(commands: Iterable[str]) -> list[str]:
    """Give the shell lines that run commands before a job's own; under `set -e`, the one that fails is named.

    Args:
        commands: Shell commands; without any, there are no lines.
    """
    told = "trap 'echo \"startup command failed: $BASH_COMMAND\" >&2' ERR"
    lines = [*commands]
    return [told, *lines, "trap - ERR"] if lines else []


def placeholders_in(template: str) -> tuple[str, ...]:
    """Give the names that stand in braces; `${NAME}` is a shell's variable and none of them."""
    return tuple(_PLACEHOLDER.findall(template))


def split_failure(line: str) -> str | None:
    """Say why a command line cannot be split into words as a shell does; None where it can."""
    try:
        shlex.split(line)
    except ValueError as failure:
        return str(failure)
    return None
