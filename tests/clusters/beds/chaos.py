"""A TCP proxy on loopback that cuts, resets, stalls and delays what goes through it."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

_BLOCK = 16384
_POLL_S = 0.05
_CONNECT_S = 10.0
_END_S = 10.0


@dataclass(frozen=True)
class Fault:
    """What is done to a connection.

    Attributes:
        kind: `cut` closes both sides, `reset` resets them, `stall` forwards nothing any more and closes nothing.
        after: Bytes in the direction that are let through first; of the block that goes beyond, the part up to there.
        connection: Which connection since the proxy was started, counted from 1; None for each.
        towards: The direction whose bytes count.
    """

    kind: Literal["cut", "reset", "stall"]
    after: int = 0
    connection: int | None = None
    towards: Literal["server", "client"] = "server"


class ChaosProxy:
    """Forwards connections to a server, and disturbs them as told. Ends with the `with` block.

    Args:
        target: Host and port of the server.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()[:2]
        self.fault: Fault | None = None
        """What happens from now on, also to connections that are open; None lets everything through."""
        self.delay_s = 0.0
        """How long each block waits, in seconds."""
        self.connections = 0
        """How many connections there were."""
        self.struck = 0
        """How many connections a fault has hit."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="chaos-proxy")]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut every connection and end."""
        self._over.set()
        for thread in self._threads:
            thread.join(_END_S)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            if not select.select([self._listener], [], [], _POLL_S)[0]:
                continue
            client = self._listener.accept()[0]
            self.connections += 1
            forward = threading.Thread(target=self._serve, args=(client, self.connections), name="chaos-connection")
            self._threads.append(forward)
            forward.start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client:
            try:
                server = socket.create_connection(self._target, _CONNECT_S)
            except OSError:
                return
            with server, suppress(OSError):
                self._forward(client, server, number)

    def _forward(self, client: socket.socket, server: socket.socket, number: int) -> None:
        other = {client: server, server: client}
        name = {client: "server", server: "client"}
        passed = {"server": 0, "client": 0}
        open_sides = [client, server]
        while open_sides and not self._over.is_set():
            for source in select.select(open_sides, [], [], _POLL_S)[0]:
                block = source.recv(_BLOCK)
                if self.delay_s:
                    time.sleep(self.delay_s)
                direction = name[source]
                fault = self._fault_for(number, direction, passed[direction] + len(block))
                if fault is not None:
                    other[source].sendall(block[: max(0, fault.after - passed[direction])])
                    self._strike(fault, client, server)
                    return
                passed[direction] += len(block)
                if block:
                    other[source].sendall(block)
                else:
                    open_sides.remove(source)
                    other[source].shutdown(socket.SHUT_WR)

    def _fault_for(self, number: int, direction: str, total: int) -> Fault | None:
        fault = self.fault
        if fault is None or fault.towards != direction or fault.connection not in {None, number}:
            return None
        return fault if total > fault.after else None

    def _strike(self, fault: Fault, *sides: socket.socket) -> None:
        self.struck += 1
        if fault.kind == "stall":
            self._over.wait()
        if fault.kind == "reset":
            for side in sides:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
