"""Where each key of a TOML text stands, which `tomllib` does not say."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Key = tuple[str | int, ...]

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_INDENT = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+")
# A multi-line string may end in up to two quotes of its own before the closing three.
_STRING = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|\"(?:[^\"\\]|\\.)*\"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


@lru_cache(maxsize=8)
def key_lines(text: str) -> Mapping[Key, int]:
    """Find the line of every table, key and array element.

    Args:
        text: TOML that `tomllib` accepts; of anything else the result is undefined.

    Returns:
        From a path such as `("slurm", "mounts", 0)` to its line, counted from 1.
    """
    return MappingProxyType(_Scanner(text).scan())


class _Scanner:
    """One pass over a text that is known to be valid, so that it need not check the grammar again."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        self._lines: dict[Key, int] = {}
        self._array_lengths: dict[Key, int] = {}

    def scan(self) -> dict[Key, int]:
        """Read the whole text."""
        table: Key = ()
        while self._skip_blank():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _line(self) -> int:
        return bisect_left(self._newlines, self._at) + 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:  # only reachable for a text that is not TOML
            message = f"not TOML at offset {self._at}"
            raise ValueError(message)
        self._at = found.end()
        return found.group()

    def _skip_blank(self) -> bool:
        self._take(_BLANK)
        return self._at < len(self._text)

    def _header(self) -> Key:
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        names = self._key()
        self._at += brackets
        parent = self._current(names[:-1])
        path: Key = (*parent, names[-1])
        if brackets == 1:
            path = self._current(names)
        else:
            count = self._array_lengths.get(path, 0)
            self._array_lengths[path] = count + 1
            self._lines.setdefault(path, line)
            path = (*path, count)
        self._record(path, line)
        return path

    def _current(self, names: Key) -> Key:
        """Give the path that a header means: through an array of tables it means the newest element."""
        path: Key = ()
        for name in names:
            path = (*path, name)
            if path in self._array_lengths:
                path = (*path, self._array_lengths[path] - 1)
        return path

    def _record(self, path: Key, line: int) -> None:
        for length in range(1, len(path)):
            self._lines.setdefault(path[:length], line)
        self._lines[path] = line

    def _key(self) -> Key:
        parts: list[str | int] = []
        while True:
            self._take(_INDENT)
            part = self._take(_KEY_PART)
            # tomllib decodes the escapes of a quoted key, so that this need not know them.
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            self._take(_INDENT)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _pair(self, table: Key) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._record(path, line)
        self._at += 1  # the "="
        self._take(_INDENT)
        self._value(path)

    def _value(self, path: Key) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._take(_STRING)
        elif opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: Key) -> None:
        self._at += 1
        count = 0
        while self._skip_blank() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._lines[(*path, count)] = self._line()
            self._value((*path, count))
            count += 1
        self._at += 1

    def _inline_table(self, path: Key) -> None:
        self._at += 1
        while self._skip_blank() and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
            else:
                self._pair(path)
        self._at += 1
