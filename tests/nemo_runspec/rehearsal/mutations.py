"""Bodies with one thing in them that is something else: what clients must not be able to break a twin with."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD: Final[tuple[Any, ...]] = (None, [], {}, "", 0, -1, True, 1.5, "x\0y", "'", [None], {"a": 1}, "../..", "é" * 20_000)


def mutations(body: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON value
    """Give the body with each of its parts, in turn, replaced by each odd value, and with each key left out."""
    for path in _paths(body, ()):
        for odd in ODD:
            yield _with(body, path, odd)
        if isinstance(path[-1], str):
            yield _without(body, path)


def _paths(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - any JSON value
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in rows:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _with(body: Any, path: tuple[Any, ...], odd: Any) -> Any:  # noqa: ANN401 - any JSON value
    changed = copy.deepcopy(body)
    _holder(changed, path)[path[-1]] = copy.deepcopy(odd)
    return changed


def _without(body: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any JSON value
    changed = copy.deepcopy(body)
    del _holder(changed, path)[path[-1]]
    return changed


def _holder(body: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any JSON value
    for key in path[:-1]:
        body = body[key]
    return body
