"""Tests of the two kinds of nodes, with Ray's processes left out."""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest

from nemo_runspec.ray_node import nodes
from nemo_runspec.ray_node.channel import Switchboard
from nemo_runspec.ray_node.daemons import RayStartError, free_port
from nemo_runspec.ray_node.nodes import LOST, Job, Signals, run_first, run_other

if TYPE_CHECKING:
    from pathlib import Path

HERE = "127.0.0.1"


class Asked(Signals):
    """Signals of a thread, which gets none."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number


class NoRay:
    """What stands for Ray's processes; `broken` names what fails."""

    broken = ""
    joined: list[str] = []  # noqa: RUF012 - reset by each test
    environ: list[dict[str, str]] = []  # noqa: RUF012 - as above

    def __init__(self, environ: dict[str, str], **_: int) -> None:
        self.environ.append(environ)

    def start_head(self, address: str) -> str:
        return f"{address}:6379"

    def join(self, head: str) -> None:
        if self.broken == "join":
            raise RayStartError("one\n" * 40 + "no such head\n")
        self.joined.append(head)

    def ended(self) -> str | None:
        return self.broken or None

    def stop(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "Daemons", NoRay)
    monkeypatch.setattr(NoRay, "broken", "")
    NoRay.joined.clear()
    NoRay.environ.clear()


def job(rank: int, body: str = "pass", *, count: int = 2) -> Job:
    return Job(count, rank, HERE, free_port(HERE), 1, 0, (sys.executable, "-c", body))


class Other:
    """The second node of a job, in a thread."""

    def __init__(self, first: Job) -> None:
        self.codes: list[int] = []
        self._thread = threading.Thread(target=self._run, args=(replace(first, rank=1),), daemon=True)
        self._thread.start()

    def _run(self, job: Job) -> None:
        self.codes.append(run_other(job, Asked()))

    def code(self) -> int:
        self._thread.join(30)
        (code,) = self.codes
        return code


@pytest.mark.parametrize("code", [0, 7])
def test_all_nodes_end_with_the_drivers_code(code: int) -> None:
    first = job(0, f"raise SystemExit({code})")
    other = Other(first)
    assert (run_first(first, Asked()), other.code()) == (code, code)
    assert NoRay.joined == [f"{HERE}:6379"]
    assert len({one["RAY_AUTH_TOKEN"] for one in NoRay.environ}) == 1
    assert "RAY_ADDRESS" not in NoRay.environ[-1]


def test_the_driver_knows_where_ray_is(tmp_path: Path) -> None:
    told = tmp_path / "told"
    body = f"import os; open({str(told)!r}, 'w').write(os.environ['RAY_ADDRESS'] + os.environ['RAY_AUTH_MODE'])"
    assert run_first(job(0, body, count=1), Asked()) == 0
    assert told.read_text() == f"{HERE}:6379token"


def test_a_lost_process_of_rays_ends_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NoRay, "broken", "gcs_server")
    assert run_first(job(0, "import time; time.sleep(300)", count=1), Asked()) == LOST
    assert "Ray's gcs_server has ended on this node" in capsys.readouterr().err


def test_a_node_that_never_comes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(nodes, "JOIN_S", 1.0)
    assert run_first(job(0), Asked()) == LOST
    assert "error: after 1 s these nodes have not joined Ray: 1" in capsys.readouterr().err


def test_a_first_node_that_never_comes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(nodes, "JOIN_S", 1.0)
    assert run_other(job(1), Asked()) == LOST
    assert "is not there after 1 s" in capsys.readouterr().err


def test_a_node_that_cannot_join_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = job(0)
    monkeypatch.setattr(NoRay, "broken", "join")
    monkeypatch.setattr(nodes, "RETURN_S", 0.5)
    monkeypatch.setattr(NoRay, "ended", lambda _: None)
    monkeypatch.setattr(nodes, "JOIN_S", 2.0)
    other = Other(first)
    assert run_first(first, Asked()) == LOST
    assert other.code() == 1
    assert "error: this node cannot join Ray:\n    one\n" in capsys.readouterr().err


def test_a_first_node_that_was_started_again_is_joined_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = job(0, "import time; time.sleep(300)")
    other = Other(first)
    stopped = Asked()
    threading.Timer(3.0, lambda: setattr(stopped, "number", 15)).start()
    # As when it is killed: it cannot tell anybody.
    monkeypatch.setattr(Switchboard, "end", lambda board, _: board.close())
    assert run_first(first, stopped) == 128 + 15
    monkeypatch.undo()
    monkeypatch.setattr(nodes, "Daemons", NoRay)
    again = replace(first, command=(sys.executable, "-c", "raise SystemExit(3)"))
    assert (run_first(again, Asked()), other.code()) == (3, 3)
    assert len(NoRay.joined) == 2


def test_a_signal_reaches_the_driver_and_ends_all() -> None:
    first = job(0, "import time; time.sleep(300)")
    other = Other(first)
    asked = Asked()
    threading.Timer(2.0, lambda: setattr(asked, "number", 15)).start()
    assert (run_first(first, asked), other.code()) == (128 + 15, 128 + 15)


def test_what_cannot_begin_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = replace(job(0, count=1), command=("no-such-program",))
    assert run_first(nowhere, Asked()) == 127
    assert "error: no-such-program cannot be started: No such file or directory\n" in capsys.readouterr().err
    monkeypatch.setattr(nodes, "NAME_S", 0.0)
    assert run_first(replace(job(0), host="no-such-host.invalid"), Asked()) == 1
    assert "error: after 0 s the name no-such-host.invalid has no address" in capsys.readouterr().err
    taken = job(0, count=1)
    with socket.create_server(("", taken.port)):
        assert run_first(taken, Asked()) == 1
    assert f"error: this node cannot listen on port {taken.port}: " in capsys.readouterr().err
