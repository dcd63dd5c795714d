"""What the nodes of a job tell each other beside Ray: one JSON object a line, over TCP.

A worker says its rank and its job, gets `{"ray": address, "token": ...}`, and says `{"joined": rank}`; `{"exit": code}`
is the end. A connection that is gone without that is a node that is gone.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

LOOK_S: Final = 0.2
# The kernel's own probes find a machine that is gone without a word within this time: 5 + 3 * 3 s.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))
_LONGEST_LINE: Final = 1 << 16


class Line:
    """One connection.

    Args:
        connection: A connected socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Let the kernel watch it."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        connection.settimeout(LOOK_S)
        self._socket = connection
        self._read = b""
        self._over = False

    def send(self, message: dict[str, Any]) -> bool:
        """Send an object; False where nobody is there any more."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> dict[str, Any] | None:
        """Give the next object, or None where there is none yet.

        Raises:
            EOFError: The other end is gone, or is not one of ours.
        """
        while b"\n" not in self._read:
            try:
                data = self._socket.recv(1 << 12)
            except TimeoutError:
                return None
            except OSError as error:
                raise EOFError from error
            self._read += data
            if not data or len(self._read) > _LONGEST_LINE:
                raise EOFError
        line, _, self._read = self._read.partition(b"\n")
        try:
            message = json.loads(line)
            return dict(message)
        except (ValueError, TypeError) as error:
            raise EOFError from error

    def close(self) -> None:
        """End it, also for a thread that waits for a word."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def call(host: str, port: int) -> Line | None:
    """Connect to the first node; None where it is not there yet.

    Args:
        host: Its name or address.
        port: The job's port.
    """
    try:
        return Line(socket.create_connection((host, port), timeout=5))
    except OSError:
        return None


@dataclass
class _Known:
    line: Line
    joined: bool = False
    lost_at: float | None = None


@dataclass
class Switchboard:
    """The first node's end of all connections.

    Args:
        port: The port to listen on.
        nodes: How many nodes the job has.
        welcome: What each of the others is told first.
        key: What nodes of this job know, and those of others do not.
    """

    port: int
    nodes: int
    welcome: dict[str, Any]
    key: str = ""
    _known: dict[int, _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket | None = None

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: Somebody else listens there.
        """
        listener = socket.create_server(("", self.port), backlog=self.nodes)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="nodes").start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(Line(connection),), daemon=True, name="node").start()

    def _serve(self, line: Line) -> None:
        """Talk to one node until it is gone; whoever is none of the job's is not answered."""
        rank: int | None = None
        try:
            while True:
                message = line.receive()
                if message is None:
                    continue
                if rank is None:
                    rank = message.get("rank")
                    if not isinstance(rank, int) or not 0 < rank < self.nodes or message.get("key", "") != self.key:
                        rank = None
                        return
                    with self._lock:
                        self._known[rank] = _Known(line)
                    line.send(self.welcome)
                elif "joined" in message:
                    with self._lock:
                        self._known[rank].joined = True
        except EOFError:
            pass  # it is gone, which is noted now
        finally:
            line.close()
            with self._lock:
                # It may have called again meanwhile.
                if rank is not None and rank in self._known and self._known[rank].line is line:
                    self._known[rank].lost_at = time.monotonic()

    def missing(self) -> list[int]:
        """Give the ranks that have not joined."""
        with self._lock:
            there = {rank for rank, known in self._known.items() if known.joined and known.lost_at is None}
        return [rank for rank in range(1, self.nodes) if rank not in there]

    def lost(self, patience_s: float) -> list[int]:
        """Give the ranks that were connected and have been gone for some time.

        Args:
            patience_s: How long one may be gone, in seconds.
        """
        now = time.monotonic()
        with self._lock:
            gone = [rank for rank, known in self._known.items() if known.lost_at and now - known.lost_at > patience_s]
        return sorted(gone)

    def end(self, code: int) -> None:
        """Tell all nodes that the job is over, and how, and hear nobody any more.

        Args:
            code: What they end with.
        """
        for line in self._lines():
            line.send({"exit": code})
        self.close()

    def close(self) -> None:
        """Hear nobody any more."""
        if self._listener is not None:
            # The thread that waits for the next one would keep the port.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for line in self._lines():
            line.close()

    def _lines(self) -> list[Line]:
        with self._lock:
            return [known.line for known in self._known.values() if known.lost_at is None]
