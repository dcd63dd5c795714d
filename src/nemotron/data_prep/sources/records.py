"""Lines as records: JSON objects, quickly where all is well, and one by one where something is not."""

from __future__ import annotations

import gc
import json
import secrets
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import orjson

from nemotron.data_prep.sources.lines import MARK
from nemotron.data_prep.sources.model import BadRecord, Batch
from nemotron.data_prep.wording import kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Far more than records have, and far less than what reading or writing one can take.
_DEEPEST = 100
_FLAT = {str, int, float, bool, type(None)}
_LONG = 256
_BRACKETS = ~(ord("[") ^ ord("{")) & 0xFF
_NUMBER = secrets.randbits(53)
_BETWEEN = b",%d," % _NUMBER
_REMEDY = 'Write one JSON object on each line, such as {"text": "..."}.'


def split_lines(offset: int, lines: bytes) -> tuple[list[bytes], list[int]]:
    """Take lines apart.

    Args:
        offset: Where they stand in the file.
        lines: Whole lines. The file's mark of its encoding is left out.

    Returns:
        The lines that hold more than blanks at their ends, without their ends, and where each of them starts.
    """
    if offset == 0 and lines.startswith(MARK):
        lines, offset = lines[len(MARK) :], len(MARK)
    parts = lines.split(b"\n")
    if not parts[-1]:
        parts.pop()
    lengths = np.fromiter(map(len, parts), np.int64, len(parts)) + 1
    starts: list[int] = (np.cumsum(lengths) - lengths + offset).tolist()
    if b"\r" in lines:
        parts = [part.removesuffix(b"\r") for part in parts]
    if b"" in parts:
        starts = [start for part, start in zip(parts, starts, strict=True) if part]
        parts = [part for part in parts if part]
    return parts, starts


def parse_json(lines: list[bytes], starts: list[int]) -> Batch:
    """Read lines as JSON objects.

    Args:
        lines: The lines.
        starts: Where each starts.
    """
    # One list of all lines is read much faster than each line for itself. The number between them, which nobody
    # knows, shows that each line is one value: lines that are only together JSON are no records.
    together = b"[" + _BETWEEN.join(lines) + b"]"
    try:
        with _collector_paused():
            values = orjson.loads(together)
    except orjson.JSONDecodeError:
        return _parse_each(lines, starts)
    numbers = values[1::2]
    values = values[::2]
    if len(values) != len(lines) or numbers.count(_NUMBER) != len(lines) - 1:
        return _parse_each(lines, starts) if lines else Batch(raw=[])
    if set(map(type, values)) - {dict} or (not _are_flat(values, len(together)) and _may_be_deep(together, lines)):
        return _parse_each(lines, starts)
    return Batch(values, starts, lines)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python from looking for cycles among new records again and again; they have none."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _are_flat(values: Sequence[dict[str, object]], size: int) -> bool:
    """Tell whether no record holds a list or an object, where that is quicker to find than to count brackets."""
    if size < _LONG * len(values):
        return False
    return not set(map(type, chain.from_iterable(map(dict.values, values)))) - _FLAT


def _may_be_deep(together: bytes, lines: Sequence[bytes]) -> bool:
    """Tell whether a line has more brackets than a record has levels."""
    # Both opening brackets differ in one bit.
    opening = (np.frombuffer(together, np.uint8) & _BRACKETS) == ord("[")
    if np.count_nonzero(opening) <= len(lines) + _DEEPEST:
        return False
    lengths = np.fromiter(map(len, lines), np.int64, len(lines)) + len(_BETWEEN)
    places = np.searchsorted(np.flatnonzero(opening), np.cumsum(lengths))
    return bool(np.diff(places, prepend=0).max() > _DEEPEST)


def _parse_each(lines: Sequence[bytes], starts: Sequence[int]) -> Batch:
    batch = Batch(raw=[])
    raw: list[bytes] = []
    for line, start in zip(lines, starts, strict=True):
        if not line.strip():
            continue
        # Files that were put together have the mark in their middle too.
        text = line.removeprefix(MARK)
        try:
            batch.values.append(_parse(text))
        except _Bad as bad:
            batch.bad.append(BadRecord(start, *bad.args))
        else:
            batch.numbers.append(start)
            raw.append(text)
    batch.raw = raw
    return batch


class _Bad(Exception):  # noqa: N818 never leaves this module: a record's message and remedy on their way
    """What is wrong with a record."""


def _parse(line: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _diagnosis(line, error) from error
    if not isinstance(value, dict):
        message = f"the line holds {kind(value)}, not an object"
        raise _Bad(message, _REMEDY)
    if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise _too_deep()
    return value


def _diagnosis(line: bytes, error: orjson.JSONDecodeError) -> _Bad:
    """Say why a line cannot be read, in words that help to mend it."""
    message = f"the line is not JSON: {error.msg}"
    try:
        text = line.decode()
    except UnicodeDecodeError as undecodable:
        return _Bad(f"the line is not JSON: {undecodable}", _REMEDY)
    try:
        value = json.loads(text)
    except RecursionError:
        return _too_deep()
    except json.JSONDecodeError as known:
        remedy = _REMEDY
        if text.lstrip().startswith("["):
            remedy = "This looks like one list of records. Write each record on a line of its own: jq -c '.[]' FILE."
        return _Bad(f"the line is not JSON: {known.msg}", remedy)
    except ValueError:
        return _Bad("the line holds a number of too many digits", "Write it as text.")
    return _refusal(value) or _Bad(message, "JSON has no NaN, no Infinity, and no numbers of hundreds of digits.")


def _refusal(value: object) -> _Bad | None:
    """Say what makes a value unusable that Python reads and orjson does not, if it is known."""
    if _depth(value) > _DEEPEST:
        return _too_deep()
    if not is_text(value):
        message = "the line holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        return _Bad(message, "Write the whole character, or leave it out.")
    return None


def _too_deep() -> _Bad:
    return _Bad(f"lists and objects are nested more than {_DEEPEST} deep", "Write the record with fewer levels.")


def _depth(value: object) -> int:
    """Count the levels of lists and objects, without a call for each of them."""
    depth = 0
    level = [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


def is_text(value: object) -> bool:
    """Tell whether all text in a value consists of whole characters.

    Args:
        value: What JSON gives.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
