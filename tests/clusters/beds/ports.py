"""Ports that are free on this machine."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack, suppress

# Below those that systems give to connections (from 32768 on Linux, from 49152 elsewhere): such a one could take the
# port of a server that a test has stopped for a while. And below those that trainings meet at, such as 23456 and 29400.
_LOWEST, _HIGHEST = 10_000, 20_000


def free_ports(count: int) -> list[int]:
    """Give TCP ports that nothing listens on; all are held while they are chosen, so that they differ."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
            with suppress(OSError):  # somebody has it
                candidate = held.enter_context(socket.socket())
                candidate.bind(("", port))
                found.append(port)
    return found


def free_port() -> int:
    """Give one TCP port that nothing listens on."""
    return free_ports(1)[0]
