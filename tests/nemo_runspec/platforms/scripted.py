"""A platform on this machine's loopback that answers what a test has written down."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from nemo_runspec.platforms.http import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        status: Its status.
        body: JSON to send, or bytes as they are.
        headers: More headers.
        fault: `drop` closes and `reset` resets the connection instead of answering, `stall` leaves it open, `short`
            and `cut` end it within the body, with a declared length or with chunks.
        chunks: A body in pieces, each sent as it is there.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Literal["", "drop", "reset", "stall", "short", "cut"] = ""
    chunks: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads(self.body)


class FakeTime:
    """A clock that only moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        assert len(self.waits) < 10_000, "nothing ever ends this waiting"

    def patience(self, **changes: Any) -> Patience:  # noqa: ANN401 - the fields of Patience
        return Patience(**{"clock": self.clock, "sleep": self.sleep, "connect_s": 5, "read_s": 5, **changes})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def answer(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(parts.query))
        asked = Asked(self.command, parts.path, query, dict(self.headers.items()), content)
        self.close_connection = True
        reply = self.server.scripted.next_reply(asked)
        if reply.fault == "stall":
            self.server.scripted.released.wait(30)
        elif reply.fault in {"drop", "reset"}:
            self.break_off(hard=reply.fault == "reset")
        elif reply.chunks or reply.fault == "cut":
            self.send_chunks(reply)
        else:
            self.send_whole(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

    def break_off(self, *, hard: bool) -> None:
        if hard:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def send_whole(self, reply: Reply) -> None:
        content = reply.body if isinstance(reply.body, bytes) else b""
        if not isinstance(reply.body, bytes) and reply.body is not None:
            content = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if reply.fault == "short" else content)

    def send_chunks(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in reply.chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if reply.fault != "cut":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: what was asked is in `asked`."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing it waits for what it has begun

    def __init__(self, scripted: Scripted) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scripted = scripted


class Scripted:
    """The server's side of a test."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self._replies: dict[str, list[Reply]] = defaultdict(list)
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        return [asked.line for asked in self.asked]

    def script(self, line: str, *replies: Reply) -> None:
        """Answer `GET /path` with these, the last again and again."""
        self._replies[line] = list(replies)

    def next_reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            replies = self._replies.get(asked.line)
            if not replies:
                return Reply(status=404, body={"message": f"not in the script: {asked.line}"})
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    server = Scripted()
    server.start()
    try:
        yield server
    finally:
        server.close()
