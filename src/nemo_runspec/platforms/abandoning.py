"""Giving up a submission: whoever waits for a platform learns that nobody wants the job any more.

The event travels in a context variable, because nemo-run and torchx stand between the one who gives up and the client,
and nemo-run hands its context on to its threads.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from nemo_runspec.errors import PlatformError

if TYPE_CHECKING:
    import threading

ABANDONED: ContextVar[threading.Event | None] = ContextVar("nemo_runspec_abandoned", default=None)
"""Set to an event by the one who may give up; None where nobody does."""


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


def pause(seconds: float) -> None:
    """Sleep, but no longer than until the submission is given up."""
    event = ABANDONED.get()
    if event is None:
        time.sleep(seconds)
    else:
        event.wait(seconds)
