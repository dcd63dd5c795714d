"""How far the workers are within their tasks, in memory that they share with the process that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from multiprocessing.context import BaseContext

_FIELDS = 2


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done.

    Args:
        read: Bytes of input.
        tokens: Tokens of output.
    """

    read: int
    tokens: int


class Meters:
    """A place for each worker's numbers; a worker writes only its own.

    Args:
        context: How the workers are started.
        places: How many there are.
    """

    def __init__(self, context: BaseContext, places: int) -> None:
        """Make the shared memory."""
        self._numbers = context.RawArray("q", places * _FIELDS)
        self._taken = context.Value("i", 0)
        self._places = places

    def take_place(self) -> None:
        """Give this worker the next place; one that comes later shares somebody's."""
        global _place  # noqa: PLW0603 - one for the process, as its work is
        with self._taken.get_lock():
            number = self._taken.value % self._places
            self._taken.value += 1
        _place = (self._numbers, number * _FIELDS)

    def total(self) -> Amounts:
        """Add up what all have written."""
        return Amounts(sum(self._numbers[0::_FIELDS]), sum(self._numbers[1::_FIELDS]))


_place: tuple[MutableSequence[int], int] | None = None


def add(read: int, tokens: int) -> None:
    """Say that more is done of this worker's task.

    Args:
        read: Bytes of input more.
        tokens: Tokens of output more.
    """
    if _place is not None:
        numbers, start = _place
        numbers[start] += read
        numbers[start + 1] += tokens


def reset() -> None:
    """Forget what was said: the task is over."""
    if _place is not None:
        numbers, start = _place
        numbers[start] = numbers[start + 1] = 0
