"""A TOML text together with where it stands, and the problems found in it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemo_runspec.errors import Location
from nemo_runspec.toml.lines import key_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nemo_runspec.errors import NemotronError
    from nemo_runspec.toml.lines import Key

_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_REMEDIES = {
    "Invalid value": 'Text needs quotes: key = "value".',
    "Cannot overwrite a value": "A key may be given only once.",
    "Cannot declare": "A table may be declared only once.",
    "Expected '=' after a key": "A line reads: key = value.",
    "Invalid statement": "A line reads: key = value, or [table].",
}


@dataclass(frozen=True, slots=True)
class TomlSource:
    """Parsed TOML that still knows its lines.

    Args:
        path: The file it comes from.
        data: What `tomllib` made of it.
        text: The TOML text.
        first_line: Line of the file in which the text begins, counted from 1.
    """

    path: Path
    data: Mapping[str, Any]
    text: str
    first_line: int = 1

    def where(self, *key: str | int) -> Location:
        """Give the place of a key, or of the nearest table around a key that is not there."""
        lines = key_lines(self.text)
        for length in range(len(key), 0, -1):
            line = lines.get(key[:length])
            if line is not None:
                return Location(self.path, line + self.first_line - 1)
        return Location(self.path, self.first_line)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        message: What is wrong, without the place.
        where: The place, where it has one.
        remedy: What to do about it.
    """

    message: str
    where: Location | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        """Give it as one line of a list."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}" + (f". {self.remedy}" if self.remedy else "")


def parse_toml(text: str, path: Path, *, error: type[NemotronError], first_line: int = 1) -> TomlSource:
    """Parse TOML.

    Args:
        text: The TOML text.
        path: The file it comes from.
        error: The error class to raise.
        first_line: Line of the file in which the text begins, counted from 1.

    Raises:
        NemotronError: Of class `error`, with file and line, when it is not valid TOML.
    """
    try:
        return TomlSource(path, tomllib.loads(text), text, first_line)
    except tomllib.TOMLDecodeError as failure:
        reason = str(failure)
    found = _POSITION.search(reason)
    reason = _POSITION.sub("", reason)
    last_line = len(text.rstrip("\n").split("\n"))
    line = int(found["line"]) if found and found["line"] else last_line
    column = f", column {found['column']}" if found and found["column"] else ""
    remedy = next((remedy for start, remedy in _REMEDIES.items() if reason.startswith(start)), None)
    message = f"not valid TOML{column}: {reason[:1].lower()}{reason[1:]}"
    raise error(
        message,
        where=Location(path, line + first_line - 1),
        remedy=remedy or "TOML's rules are at https://toml.io/en/v1.0.0.",
    )


def raise_problems(problems: Iterable[Problem], error: type[NemotronError], *, summary: str) -> None:
    """Raise one error that names every problem once, in the order of their lines; without problems do nothing.

    Args:
        problems: What was found; the same problem may be in it twice.
        error: The error class to raise.
        summary: What has the problems, such as "profile 'slurm'".

    Raises:
        NemotronError: Of class `error`. With one problem, it is that problem; with several, it lists them.
    """
    unique = sorted(dict.fromkeys(problems), key=lambda problem: _line(problem.where))
    if not unique:
        return
    first = unique[0]
    if len(unique) == 1:
        raise error(first.message, where=first.where, remedy=first.remedy)
    listed = "".join(f"\n  {problem}" for problem in unique)
    message = f"{summary} has {len(unique)} problems:{listed}"
    raise error(message)


def _line(where: Location | None) -> int:
    return where.line or 0 if where else 0


def key_text(key: Key) -> str:
    """Give a key path as people write it: `mounts[0].from`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
