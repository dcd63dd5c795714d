"""Command lines whose words may hold variables that only the job knows, such as a node's rank."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What double quotes leave special in a shell, and a `$` that begins no variable.
_SPECIAL = re.compile(r'[\\"`]|\$(?![A-Za-z_{])')


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
