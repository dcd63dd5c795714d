from __future__ import annotations

import socket
import threading
from email.message import Message
from types import SimpleNamespace

from nemo_runspec.rehearsal.exchange import Tunnel
from nemo_runspec.rehearsal.tunnel import pass_on


def passed_on(headers: dict[str, str], content: bytes = b"") -> tuple[socket.socket, socket.socket, threading.Thread]:
    """Pass a request on; give the caller's side, the pod's side, and the thread that carries."""
    caller, ours = socket.socketpair()
    pod, to_pod = socket.socketpair()
    for end in (caller, pod):
        end.settimeout(5)
    message = Message()
    for name, value in headers.items():
        message[name] = value
    handler = SimpleNamespace(command="PUT", headers=message, connection=ours)

    def carry() -> None:
        pass_on(handler, Tunnel(to_pod, "/api/x?y=1"), content)  # type: ignore[arg-type]  # what it needs of one
        ours.close()

    thread = threading.Thread(target=carry)
    thread.start()
    return caller, pod, thread


def test_a_request_is_passed_on_without_what_is_the_gateways() -> None:
    headers = {"Host": "gateway", "Authorization": "Bearer x", "Content-Length": "2", "Connection": "keep-alive"}
    caller, pod, thread = passed_on(headers, b"ok")
    with caller, pod:
        request = pod.recv(4096).decode()
        assert request.startswith("PUT /api/x?y=1 HTTP/1.1\r\nHost: dashboard\r\n")
        assert "Content-Length: 2\r\n" in request
        assert "Connection: close\r\n\r\nok" in request
        assert "Bearer" not in request
        pod.sendall(b"HTTP/1.1 200 OK\r\n\r\nanswer")
        pod.shutdown(socket.SHUT_RDWR)
        assert b"".join(iter(lambda: caller.recv(4096), b"")).endswith(b"answer")
    thread.join()


def test_an_upgrade_carries_bytes_both_ways_until_one_side_ends() -> None:
    caller, pod, thread = passed_on({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "k"})
    with caller, pod:
        request = pod.recv(4096).decode()
        assert "Connection: Upgrade\r\n" in request
        assert "Upgrade: websocket\r\n" in request
        pod.sendall(b"101")
        assert caller.recv(3) == b"101"
        caller.sendall(b"frame")
        assert pod.recv(5) == b"frame"
        caller.shutdown(socket.SHUT_RDWR)
        assert pod.recv(1) == b""
    thread.join()
