"""Giving up a submission: whoever waits for a platform learns that nobody wants the job any more.

The event travels in a context variable, because nemo-run and torchx stand between the one who gives up and the client,
and nemo-run hands its context on to its threads.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PlatformError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

ABANDONED: ContextVar[threading.Event | None] = ContextVar("nemo_runspec_abandoned", default=None)
"""Set to an event by the one who may give up; None where nobody does."""

POLL_S: Final = 0.25
"""How soon a call that may be ended learns that it is, in seconds."""

_ENDS_CALLS: ContextVar[bool] = ContextVar("nemo_runspec_abandoned_ends_calls", default=False)


class AbandonedError(PlatformError):
    """The submission was given up, and no job can have been made of it."""


def is_abandoned() -> bool:
    """Tell whether the submission that this is part of was given up."""
    event = ABANDONED.get()
    return event is not None and event.is_set()


def refuse_if_abandoned() -> None:
    """Go no further with a submission that was given up.

    Raises:
        AbandonedError: It was.
    """
    if is_abandoned():
        message = "the submission was given up"
        raise AbandonedError(message)


@contextmanager
def ended_when_abandoned() -> Iterator[None]:
    """Let calls within end as soon as the submission is given up: only for steps of which no job can come."""
    token = _ENDS_CALLS.set(True)
    try:
        yield
    finally:
        _ENDS_CALLS.reset(token)


def refuse_to_wait() -> None:
    """Wait no longer for the answer to a call that may be ended, and whose submission was given up.

    Raises:
        AbandonedError: It was.
    """
    if _ENDS_CALLS.get():
        refuse_if_abandoned()


def pause(seconds: float) -> None:
    """Sleep, but no longer than until the submission is given up."""
    event = ABANDONED.get()
    if event is None:
        time.sleep(seconds)
    else:
        event.wait(seconds)
