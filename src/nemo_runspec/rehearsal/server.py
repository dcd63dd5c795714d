"""The HTTP server of a twin: loopback only, keep-alive, disturbances on purpose, and nothing left after its end."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import struct
import sys
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from nemo_runspec.rehearsal.exchange import Api, Call, Refusal, Reply, answer
from nemo_runspec.rehearsal.faults import Fault, FaultKind, Faults
from nemo_runspec.rehearsal.tunnel import DASHBOARD, PASSED_ON_LIMIT, pass_on

if TYPE_CHECKING:
    from nemo_runspec.rehearsal.request_log import RequestLog

LOOPBACK: Final = "127.0.0.1"
BODY_LIMIT: Final = 1_572_864
"""Bytes of a request's body: what etcd takes by default (https://etcd.io/docs/v3.5/dev-guide/limit/)."""

_DRAINED: Final = 64 * 1024 * 1024
"""A body that is too large is read up to here, so that the client sees the answer and no reset."""
_POLL_S: Final = 0.02
_ABORT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing the socket resets the connection."""


class TwinServer(http.server.ThreadingHTTPServer):
    """Serves an API on a free port of the loopback interface.

    Args:
        api: What answers.
        faults: The disturbances.
        log: Keeps every request.
    """

    daemon_threads = False
    block_on_close = True

    def __init__(self, api: Api, faults: Faults, log: RequestLog) -> None:
        """Take a free port; requests are answered from `start` on."""
        self.api = api
        self.faults = faults
        self.log = log
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listeners: list[socket.socket] = []
        super().__init__((LOOPBACK, 0), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": _POLL_S}, name="twin-server", daemon=True
        )

    @property
    def origin(self) -> str:
        """The address, without a path."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def start(self) -> None:
        """Begin to answer, in threads of its own."""
        self._thread.start()

    def answer_at(self, listener: socket.socket) -> None:
        """Answer another socket's connections too, in a thread of its own.

        Args:
            listener: Listens; closed with this server.
        """
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener,), name="twin-listener", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                self._connections.add(connection)
            self.process_request(connection, address)

    def close(self) -> None:
        """End every connection and thread; returns when they have ended."""
        self.closing.set()
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # its network may be gone
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # the other side may have closed it already
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and remember it for the end."""
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Close a connection, and forget it."""
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Tell errors of this program; that a client has gone is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after another."""

    protocol_version = "HTTP/1.1"
    server_version = "rehearsal"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer a request of any method."""
        twin = cast("TwinServer", self.server)
        path = urlsplit(self.path).path
        fault = twin.faults.take(self.command, path)
        kind = fault.kind if fault else None
        if kind is FaultKind.RESET_BEFORE:
            twin.log.add(self.command, self.path, 0, b"", FaultKind.RESET_BEFORE.value)
            self._reset()
            return
        content, refusal = self._read()
        if fault and kind is FaultKind.LATENCY:
            twin.closing.wait(fault.seconds)
        call = self._call(path, content)
        reply = self._disturbed(call, fault) or (twin.api.refusal(call, refusal) if refusal else answer(twin.api, call))
        unanswered = kind in {FaultKind.RESET_AFTER, FaultKind.DROP_REPLY}
        twin.log.add(self.command, self.path, 0 if unanswered else reply.status, content, kind.value if kind else "")
        if kind is FaultKind.RESET_AFTER:
            self._reset()
        elif kind is FaultKind.DROP_REPLY:
            self.close_connection = True
        elif reply.tunnel is not None:
            self.close_connection = True
            pass_on(self, reply.tunnel, content)
        elif reply.stream is not None:
            self._send_stream(reply, stall=kind is FaultKind.STALL)
        else:
            self._send(reply, stall=kind is FaultKind.STALL)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the standard library's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as in the standard library
        """Print nothing: the request log has it."""

    def _call(self, path: str, content: bytes) -> Call:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return Call(self.command, path, query, self.headers.get("Authorization", ""), content, self.path)

    def _read(self) -> tuple[bytes, Refusal | None]:
        """Read the body; what is too large, or of unknown length, is refused."""
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            self.close_connection = True
            return b"", Refusal(HTTPStatus.LENGTH_REQUIRED, "the body needs a Content-Length")
        size = int(length)
        if size <= (PASSED_ON_LIMIT if DASHBOARD in self.path else BODY_LIMIT):
            return self.rfile.read(size), None
        for _ in range(min(size, _DRAINED) // 65536):
            self.rfile.read(65536)
        self.rfile.read(size % 65536 if size <= _DRAINED else 0)
        self.close_connection = True
        message = f"etcdserver: request is too large ({size} bytes)"
        return b"", Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)

    def _disturbed(self, call: Call, fault: Fault | None) -> Reply | None:
        """Give the answer that a disturbance puts in the place of the platform's own."""
        if fault is None or fault.kind is not FaultKind.STATUS:
            return None
        refusal = Refusal(fault.status, f"rehearsed fault {fault.status}")
        reply = cast("TwinServer", self.server).api.refusal(call, refusal)
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return Reply(fault.status, reply.body, headers)

    def _send(self, reply: Reply, *, stall: bool) -> None:
        body = b"" if reply.body is None else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if stall else body)
        self.wfile.flush()
        if stall:
            self._hang()

    def _send_stream(self, reply: Reply, *, stall: bool) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        closing = cast("TwinServer", self.server).closing
        for piece in reply.stream or ():
            if closing.is_set() or self._peer_has_gone():
                self.close_connection = True
                return
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
                if stall:
                    self._hang()
                    return
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _hang(self) -> None:
        """Send nothing more until the client or the twin gives up."""
        self.close_connection = True
        closing = cast("TwinServer", self.server).closing
        while not closing.wait(_POLL_S) and not self._peer_has_gone():
            pass

    def _peer_has_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _reset(self) -> None:
        """Reset the connection: what was sent or received last may be lost to the client."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        # Detached, because the streams on top of the socket would keep it open until the handler has ended.
        with contextlib.suppress(OSError):  # the twin may be closing it
            os.close(self.connection.detach())
