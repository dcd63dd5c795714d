"""Ages and times to live as the command line writes them: 90m, 12h, 30d, 8w."""

from __future__ import annotations

import re
from typing import Final

from nemo_runspec.errors import UsageError

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(option: str, age: str) -> float:
    """Give an age in seconds.

    Args:
        option: Where it was given, for the message.
        age: A number and a unit.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if match is None:
        message = f"{option} {age}: that is no age"
        raise UsageError(message, remedy="Give a number and a unit: 90m, 12h, 30d or 8w.")
    return float(match[1]) * UNITS[match[2]]


def age_text(seconds: float) -> str:
    """Give a number of seconds as an age, roughly."""
    for unit in ("w", "d", "h", "m"):
        if seconds >= 2 * UNITS[unit]:
            return f"{seconds // UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"
