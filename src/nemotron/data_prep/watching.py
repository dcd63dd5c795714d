"""How far a preparation is, line by line: a bar, tokens, tokens per second, and the time left."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.stage import human_count, human_seconds
from nemo_runspec.stage.progress import say
from nemotron.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.shards import Made
    from nemotron.data_prep.shards.meter import Amounts

_WIDTH = 24
_EVERY_S = 2.0
# The speed is that of the recent past, which tells the time left better than the average with the start in it.
_WINDOW = 16


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be done.

    Args:
        total: Bytes of input, or tokens, in all; None where nobody knows before it is read.
        in_tokens: Whether tokens are what is counted.
        things: What is made, in the plural.
    """

    total: int | None
    in_tokens: bool = False
    things: str = "shards"


@dataclass(frozen=True, slots=True)
class _Look:
    seconds: float
    read: int
    tokens: int


class WorkWatch:
    """Prints a line now and then while shards are made, and adds up what they hold.

    Args:
        stage: Whose work it is.
        goal: What is to be done.
        clock: A monotonic clock in seconds.
        write: Takes each line.
    """

    def __init__(
        self,
        stage: Stage,
        goal: Goal,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = say,
    ) -> None:
        """Start the clock."""
        self.reused = 0
        self.made = 0
        self._stage = stage
        self._goal = goal
        self._clock = clock
        self._write = write
        self._read: Counter[bool] = Counter()
        self._tokens: Counter[bool] = Counter()
        self._begin = _Look(clock(), 0, 0)
        self._shown: deque[_Look] = deque([self._begin], maxlen=_WINDOW)
        self._told = False

    def ended(self, made: Made) -> None:
        """Take note of a finished shard."""
        if made.reused:
            self.reused += 1
        else:
            self.made += 1
        self._read[made.reused] += made.receipt.counts.get("bytes", 0)
        self._tokens[made.reused] += made.receipt.counts.get("tokens", 0)

    def tick(self, within: Amounts) -> None:
        """Show a line if one is due.

        Args:
            within: What is done of shards that are not finished.
        """
        now = _Look(self._clock(), self._read[False] + within.read, self._tokens[False] + within.tokens)
        if now.seconds - self._shown[-1].seconds >= _EVERY_S:
            self._show(now, self._shown[0])
            self._shown.append(now)

    def wait_for(self, others: int) -> None:
        """Say, once, that nothing is left but what other runs are making."""
        if not self._told:
            note(self._stage, f"waiting for another run that is making {others} of the {self._goal.things}")
            self._told = True

    def finish(self) -> None:
        """Show what the work came to."""
        now = _Look(self._clock(), self._read[False], self._tokens[False])
        if self.made:
            self._show(now, self._begin, ended=True)
        if self.reused:
            note(self._stage, f"{self.reused} of {self.reused + self.made} {self._goal.things} were there already")

    def _show(self, now: _Look, since: _Look, *, ended: bool = False) -> None:
        if self._stage.rank != 0:
            return
        done = now.read + self._read[True]
        total = self._goal.total
        if total is not None:
            # A part may be read for two shards, and columns that nobody needs for none.
            done = total if ended else min(done, total)
        seconds = max(now.seconds - since.seconds, 1e-6)
        speed = (now.read - since.read) / seconds
        tokens_a_second = (now.tokens - since.tokens) / seconds
        parts = [*self._done(done), *self._tokens_so_far(now)]
        # Before anything is measured there is no speed to tell, and none is not the same as zero.
        if tokens_a_second > 0:
            parts.append(f"{human_count(tokens_a_second)} tok/s")
        if ended:
            parts.append(f"in {human_seconds(now.seconds - self._begin.seconds)}")
        elif speed > 0 and total is not None:
            parts.append(f"{human_seconds((total - done) / speed)} left")
        self._write("  ".join([self._stage.label, *parts]))

    def _done(self, done: int) -> list[str]:
        amount = human_count if self._goal.in_tokens else _megabytes
        unit = "tokens" if self._goal.in_tokens else "MB"
        total = self._goal.total
        if total is None:
            return [f"{amount(done)} {unit}"]
        share = done / total if total else 1.0
        filled = round(share * _WIDTH)
        bar = f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {share:4.0%}"
        return [bar, f"{amount(done)}/{amount(total)} {unit}"]

    def _tokens_so_far(self, now: _Look) -> list[str]:
        tokens = now.tokens + self._tokens[True]
        return [f"{human_count(tokens)} tokens"] if tokens and not self._goal.in_tokens else []


def _megabytes(count: int) -> str:
    return f"{round(count / 1e6, 2):.3g}" if count < 10**9 else f"{count / 1e6:,.0f}"
