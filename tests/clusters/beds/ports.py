"""Ports that are free on this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Give TCP ports that nothing listens on; all are held while they are chosen, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port() -> int:
    """Give one TCP port that nothing listens on."""
    return free_ports(1)[0]
