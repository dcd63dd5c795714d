"""What can go wrong between a client and a platform, done on purpose."""

from __future__ import annotations

import enum
import fnmatch
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class FaultKind(enum.Enum):
    """What happens to a request."""

    STATUS = "status"
    """It is answered with a status of its own, and nothing is done."""
    LATENCY = "latency"
    """It is answered as usual, and late."""
    STALL = "stall"
    """It is done, and its answer stops in the middle of the body; the connection stays open."""
    RESET_BEFORE = "reset before"
    """The connection is reset, and nothing is done."""
    RESET_AFTER = "reset after"
    """It is done, and the connection is reset instead of an answer."""
    DROP_REPLY = "drop reply"
    """It is done, and the connection is closed without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One disturbance.

    Args:
        kind: What happens.
        method: HTTP method that it is for; `*` for every one.
        path: Pattern of paths as a shell has them, without the query: `*/jobs`; `*` also stands for `/`.
        times: How often it happens; None for always.
        skip: How many matching requests pass before the first.
        status: The status to answer with, for `STATUS`.
        retry_after: The Retry-After header's value in seconds, for `STATUS`.
        seconds: How late the answer is, for `LATENCY`.
    """

    kind: FaultKind
    method: str = "*"
    path: str = "*"
    times: int | None = 1
    skip: int = 0
    status: int = 500
    retry_after: int | None = None
    seconds: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Tell whether it is for a request.

        Args:
            method: HTTP method.
            path: Path without the query.
        """
        return self.method in {"*", method} and fnmatch.fnmatchcase(path, self.path)


@dataclass(slots=True)
class _Waiting:
    fault: Fault
    skip: int
    times: int | None

    @classmethod
    def of(cls, fault: Fault) -> _Waiting:
        return cls(fault, fault.skip, fault.times)


class Faults:
    """The disturbances that are still to come; safe to use from several threads.

    Args:
        faults: Those that are there from the beginning; of several that match, the first happens.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        """Begin with the faults given, none of which has happened."""
        self._lock = threading.Lock()
        self._waiting = [_Waiting.of(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Let one more happen, after those that are waiting."""
        with self._lock:
            self._waiting.append(_Waiting.of(fault))

    def clear(self) -> None:
        """Let nothing more happen."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Give what happens to a request, and count it as happened.

        Args:
            method: HTTP method.
            path: Path without the query.
        """
        with self._lock:
            for waiting in self._waiting:
                if waiting.times == 0 or not waiting.fault.matches(method, path):
                    continue
                if waiting.skip:
                    waiting.skip -= 1
                    continue
                if waiting.times is not None:
                    waiting.times -= 1
                return waiting.fault
        return None
