"""Ending a running job from here: a signal is passed on once, and the job gets time to write its last checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GRACE_S = 30
"""How long a job may take to end after SIGINT, before SIGTERM, and again before SIGKILL."""


class Interruption:
    """What a job was asked to do while it ran.

    Args:
        number: The first signal that was passed on to it, or None.
    """

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.number: int | None = None

    @property
    def by_user(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.number == signal.SIGINT


@contextmanager
def signals_passed_on(send: Callable[[int], None]) -> Iterator[Interruption]:
    """While the body runs, pass SIGINT and SIGTERM on to a job instead of dying of them.

    The first signal is followed by SIGTERM and SIGKILL when the job does not end in time; a second one ends it at once.
    Only a process's main thread gets signals; in another one this does nothing.

    Args:
        send: Sends a signal to the job; called from another thread.

    Yields:
        What was passed on.
    """
    interruption = Interruption()
    timers: list[threading.Timer] = []

    def pass_on(number: int, _frame: object) -> None:
        interruption.number = interruption.number or number
        steps = (signal.SIGKILL,) if timers else (number, signal.SIGTERM, signal.SIGKILL)
        for index, step in enumerate(steps):
            timer = threading.Timer(index * GRACE_S, send, (step,))
            timer.daemon = True
            timers.append(timer)
            timer.start()

    wanted = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group; one that is gone already is left alone.

    Args:
        leader: The group's leader.
        number: The signal.
    """
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return
