"""Where the keys of a JSON text stand, so that an error can name the line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[ \t\n\r,:]*")


def members(text: str, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """List the members of an object.

    Args:
        text: JSON that has been parsed before, so it is known to be right.
        start: Offset of the object, or of blanks before it.

    Yields:
        A key, its offset, and the offset of its value.
    """
    position = _next(text, _next(text, start) + 1)
    while text[position] != "}":
        key, end = _DECODER.raw_decode(text, position)
        value = _next(text, end)
        yield key, position, value
        position = _next(text, _DECODER.raw_decode(text, value)[1])


def elements(text: str, start: int) -> Iterator[int]:
    """List the offsets of a list's elements.

    Args:
        text: JSON that has been parsed before.
        start: Offset of the list.
    """
    position = _next(text, start + 1)
    while text[position] != "]":
        yield position
        position = _next(text, _DECODER.raw_decode(text, position)[1])


def line_of(text: str, offset: int) -> int:
    """Give the line, counted from 1, that an offset is on."""
    return text.count("\n", 0, offset) + 1


def _next(text: str, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position
