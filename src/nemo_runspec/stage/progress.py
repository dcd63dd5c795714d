"""Progress lines for people: how far, how fast, how long still."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_THOUSAND = 1000
# From here on, three figures round up to the next suffix.
_ROUNDS_UP = 999.5
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WINDOW_LINES = 16
_SHOWS_IN_THREE_DECIMALS = 0.01


def human_count(value: float) -> str:
    """Give a count with three figures: `999`, `11.2k`, `1.5M`, `3.42B`."""
    for suffix in ("", "k", "M", "B"):
        if abs(value) < _ROUNDS_UP:
            return f"{value:.3g}{suffix}"
        value /= _THOUSAND
    return f"{value:.3g}T"


def human_seconds(seconds: float) -> str:
    """Give a duration in its two largest units: `4s`, `1m 23s`, `2h 05m`, `3d 04h`.

    Args:
        seconds: Duration in seconds; it is rounded to whole ones.
    """
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02d}h"


@dataclass(frozen=True, slots=True)
class _Sample:
    seconds: float
    step: int
    tokens: int | None


class Progress:
    """Prints one line now and then while a stage works.

    Args:
        label: What the line starts with, such as `pretrain`.
        total: Steps in all, or None when nobody knows.
        unit: What a step is called: `step`, `doc`, `file`.
        every_s: Least time between two lines, in seconds. The first and the last step are always shown.
        start: Steps that an earlier, interrupted run has done; they do not count for the speed.
        write: Takes each line; by default it is printed and flushed.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        unit: str = "step",
        every_s: float = 2.0,
        start: int = 0,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock."""
        self._label = label
        self._total = total
        self._unit = unit
        self._every_s = every_s
        self._write = write if write is not None else say
        self._clock = clock
        # The tokens of an earlier run are not known here, so a resumed run's speed starts at its first line.
        self._begin = _Sample(clock(), start, 0 if start == 0 else None)
        self._shown: deque[_Sample] = deque(maxlen=_WINDOW_LINES)
        self._pending: tuple[_Sample, dict[str, float]] | None = None

    def update(self, step: int, *, tokens: int | None = None, **values: float) -> None:
        """Report where the stage is.

        Args:
            step: Steps done, counted over all runs.
            tokens: Tokens seen in all, for a stage that counts them.
            values: What else to show, in this order: `loss=4.8`, `reward=0.3`.
        """
        sample = _Sample(self._clock(), step, tokens)
        self._pending = (sample, values)
        due = not self._shown or sample.seconds - self._shown[-1].seconds >= self._every_s
        if due or step == self._total:
            self._show()

    def finish(self) -> None:
        """Show the last update, if it was not shown: for a stage that ends before its total, or has none."""
        if self._pending is not None:
            self._show()

    def _show(self) -> None:
        if self._pending is None:
            return
        sample, values = self._pending
        done = self._total is not None and sample.step >= self._total
        # The last line speaks of the whole run, the ones before of the recent past.
        since = self._begin if done or not self._shown else self._shown[0]
        parts = [
            f"{self._unit} {sample.step}" + (f"/{self._total}" if self._total is not None else ""),
            *(f"{name} {_number(value)}" for name, value in values.items()),
            *self._speed(since, sample),
            *([f"in {human_seconds(sample.seconds - self._begin.seconds)}"] if done else self._left(since, sample)),
        ]
        self._shown.append(sample)
        self._pending = None
        self._write("  ".join([self._label, *parts]))

    def _speed(self, since: _Sample, now: _Sample) -> list[str]:
        seconds = now.seconds - since.seconds
        if seconds <= 0:
            return []
        if now.tokens is not None:
            return [f"{human_count((now.tokens - since.tokens) / seconds)} tok/s"] if since.tokens is not None else []
        rate = (now.step - since.step) / seconds
        if rate <= 0:
            return []
        return [f"{human_count(rate)} {self._unit}/s" if rate >= 1 else f"{human_count(1 / rate)} s/{self._unit}"]

    def _left(self, since: _Sample, now: _Sample) -> list[str]:
        steps = now.step - since.step
        if self._total is None or steps <= 0:
            return []
        return [f"{human_seconds((now.seconds - since.seconds) / steps * (self._total - now.step))} left"]


def _number(value: float) -> str:
    """Give a measured value: `4.812`, `3e-06`, `12.3k`."""
    if not math.isfinite(value):
        return str(float(value))
    if isinstance(value, int) or abs(value) >= _THOUSAND:
        return human_count(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= _SHOWS_IN_THREE_DECIMALS else f"{value:.3g}"


def say(line: str) -> None:
    """Print a line at once: stdout of a stage is a pipe, which Python would fill up first."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
