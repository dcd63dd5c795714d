"""The steps of a submission at which a test has this process killed; otherwise they do nothing."""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "NEMO_RUNSPEC_FAULT_POINT"
"""Variable that names the step at which to die."""

POINTS: Final = (
    "before-intent",
    "intent-written",
    "before-call",
    "after-call",
    "recorded",
    "before-told",
    "told",
)
"""Every step, in the order of a submission."""


def reach(point: str) -> None:
    """Arrive at a step: where the environment names it, this process ends as by `kill -9`.

    Args:
        point: One of `POINTS`.
    """
    if os.environ.get(VARIABLE) == point:
        os.kill(os.getpid(), signal.SIGKILL)
