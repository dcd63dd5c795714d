"""What the doctor finds: one line each, with what to do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nemo_runspec.errors import NemotronError


class State(enum.Enum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing.

    Args:
        check: The thing, in one word.
        state: How well it is.
        text: What is so, in one line.
        remedy: What to do about it.
    """

    check: str
    state: State
    text: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A question that takes its time.

    Args:
        name: The thing that it is about, where it gives no answer.
        ask: Gives the findings; a `NemotronError` that it raises becomes one.
    """

    name: str
    ask: Callable[[], Iterable[Finding]]


def ok(check: str, text: str) -> Finding:
    """Find that something is as it should be."""
    return Finding(check, State.OK, text)


def warn(check: str, text: str, remedy: str | None = None) -> Finding:
    """Find something that a job may survive, or that cannot be seen from here."""
    return Finding(check, State.WARN, text, remedy)


def fail(check: str, text: str, remedy: str | None = None) -> Finding:
    """Find something that keeps jobs from running, or that gave no answer."""
    return Finding(check, State.FAIL, text, remedy)


def failed(check: str, error: NemotronError) -> Finding:
    """Find what an error says."""
    text = " ".join(error.message.split())
    return fail(check, text, error.remedy)
