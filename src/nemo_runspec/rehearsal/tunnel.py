"""Passing a request on to a program in a pod: its answer comes back byte for byte, WebSockets too."""

from __future__ import annotations

import contextlib
import selectors
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from http.server import BaseHTTPRequestHandler

    from nemo_runspec.rehearsal.exchange import Tunnel

DASHBOARD: Final = "/dashboard/"
"""What the path of a request has in it that Lepton passes on to the dashboard of a Ray cluster."""

PASSED_ON_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of a body that is passed on; what is the platform's own has a smaller limit."""

_PIECE: Final = 64 * 1024
# The gateway's own, and what each connection says for itself (RFC 9110, 7.6.1).
_OURS: Final = frozenset({"authorization", "host", "connection", "keep-alive", "proxy-connection"})


def pass_on(handler: BaseHTTPRequestHandler, tunnel: Tunnel, content: bytes) -> None:
    """Ask what a tunnel leads to, and give the caller its answer until either side ends the connection.

    Args:
        handler: Has read the request, and its body.
        tunnel: Where to; closed at the end.
        content: The body.
    """
    upgrades = "upgrade" in handler.headers.get("Connection", "").lower()
    lines = [f"{handler.command} {tunnel.target} HTTP/1.1", "Host: dashboard"]
    lines += [f"{name}: {value}" for name, value in handler.headers.items() if name.lower() not in _OURS]
    lines += [f"Connection: {'Upgrade' if upgrades else 'close'}", "", ""]
    with tunnel.connection as pod:
        pod.sendall("\r\n".join(lines).encode("latin-1") + content)
        _both_ways(handler.connection, pod)


def _both_ways(client: socket.socket, pod: socket.socket) -> None:
    """Carry bytes in both directions until one side has no more."""
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(client, selectors.EVENT_READ, pod)
        selector.register(pod, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                piece = key.fileobj.recv(_PIECE)  # type: ignore[union-attr]  # both are sockets
                if not piece:
                    return
                key.data.sendall(piece)
