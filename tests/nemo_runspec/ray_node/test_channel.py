"""Tests of what the nodes tell each other."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.ray_node.channel import Line, Switchboard, call
from nemo_runspec.ray_node.daemons import free_port
from tests.clusters.beds.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "127.0.0.1"
WELCOME = {"ray": "here:1", "token": "t"}


@pytest.fixture
def board() -> Iterator[Switchboard]:
    made = Switchboard(free_port(HERE), 3, WELCOME)
    made.open()
    yield made
    made.end(0)


def connected(board: Switchboard) -> Line:
    line = call(HERE, board.port)
    assert line is not None
    return line


def next_of(line: Line) -> dict[str, Any]:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if message := line.receive():
            return message
    raise TimeoutError


def test_nodes_join_and_hear_how_it_ended(board: Switchboard) -> None:
    assert board.missing() == [1, 2]
    lines = {rank: connected(board) for rank in (1, 2)}
    for rank, line in lines.items():
        assert line.send({"rank": rank})
        assert next_of(line) == WELCOME
    assert board.missing() == [1, 2], "they are known, and have not joined"
    for rank, line in lines.items():
        line.send({"joined": rank})
    wait_until(lambda: not board.missing(), 5, "nodes that have joined")
    board.end(7)
    assert [next_of(line) for line in lines.values()] == [{"exit": 7}, {"exit": 7}]
    for line in lines.values():
        line.close()


def test_a_node_that_is_gone_is_lost_and_may_come_back(board: Switchboard) -> None:
    line = connected(board)
    line.send({"rank": 1})
    next_of(line)
    line.close()
    wait_until(lambda: board.lost(0) == [1], 5, "a lost node")
    assert board.lost(60) == []
    again = connected(board)
    again.send({"rank": 1})
    next_of(again)
    assert board.lost(0) == []
    again.close()


STRANGERS = (
    b'{"rank": 3}\n',
    b'{"rank": 0}\n',
    b'{"rank": "1"}\n',
    b'{"rank": 1, "key": "another"}\n',
    b"GET / HTTP/1.1\n\n",
    b"[1]\n",
)


@pytest.mark.parametrize("said", STRANGERS)
def test_who_is_none_of_the_job_is_not_answered(board: Switchboard, said: bytes) -> None:
    with socket.create_connection((HERE, board.port), timeout=10) as stranger:
        stranger.sendall(said)
        assert stranger.recv(100) == b""
    assert board.missing() == [1, 2]


def test_nobody_is_there() -> None:
    assert call(HERE, free_port(HERE)) is None
