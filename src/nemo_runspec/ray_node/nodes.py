"""The two kinds of nodes of a job on Ray: the first one, with the head and the driver, and the others."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import SIGNAL_BASE, shell_status
from nemo_runspec.ray_node.channel import LOOK_S, Line, Switchboard, call
from nemo_runspec.ray_node.daemons import LOOPBACK, Daemons, RayStartError, outward_address

if TYPE_CHECKING:
    from types import FrameType

JOIN_S: Final = 600.0
"""How long the first node waits for the others, and they for it: pods start when their images are there."""

RETURN_S: Final = 10.0
"""How long a node may be out of reach before the job fails."""

RESTART_S: Final = 60.0
"""How long the others wait for a first node that is gone: a platform may start it again."""

NAME_S: Final = 60.0
"""How long the first node waits until its own name has an address."""

NOT_FOUND: Final = 127
"""What a shell gives where there is no such program."""

LOST: Final = 75
"""What a job ends with that has lost a node: EX_TEMPFAIL, as for lost nodes everywhere."""

_DRIVER_S: Final = 20.0
_TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - the variable's name
# Releases of Ray differ in whether they ask for a token where nothing is said; older ones know of none.
_AUTH: Final = {"RAY_AUTH_MODE": "token"}
_LAST_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Job:
    """What each node is told of the job.

    Args:
        nodes: How many nodes it has.
        rank: This node's number from 0.
        host: Name or address of the first node.
        port: The port on which that one listens.
        cpus: CPUs of this node.
        gpus: GPUs of this node.
        command: The driver.
        key: What tells this job's nodes from another's that are on the same machines.
    """

    nodes: int
    rank: int
    host: str
    port: int
    cpus: int
    gpus: int
    command: tuple[str, ...]
    key: str = ""


class _EndedError(Exception):
    """The job is over for this node.

    Args:
        code: What it ends with.
        why: What to say, if anything.
    """

    def __init__(self, code: int, why: str = "") -> None:
        """Keep both."""
        super().__init__(why)
        self.code = code
        self.why = why


class Signals:
    """Remembers the first signal that asks this process to end."""

    def __init__(self) -> None:
        """Take the signals."""
        self.number: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number

    def ignore(self) -> None:
        """Take none any more: while Python ends, a signal would end the process with its own exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


def run_first(job: Job, signals: Signals) -> int:
    """Start Ray's head, wait for the other nodes, run the driver, and tell all how it has ended.

    Args:
        job: The job.
        signals: What this process is asked.

    Returns:
        The driver's exit code; 75 where a node was lost, 1 where Ray did not start.
    """
    token = os.environ.get(_TOKEN) or secrets.token_hex(32)
    environ = {**os.environ, **_AUTH, _TOKEN: token}
    daemons = Daemons(environ, cpus=job.cpus, gpus=job.gpus)
    board: Switchboard | None = None
    code = LOST
    try:
        ray = daemons.start_head(_own_address(job, signals))
        board = Switchboard(job.port, job.nodes, {"ray": ray, "token": token}, key=job.key)
        _open(board)
        _wait_for_all(board, daemons, signals)
        environ["RAY_ADDRESS"] = ray
        code = _drive(job, environ, board, daemons, signals)
    except _EndedError as ended:
        code = ended.code
        _say(ended.why)
    except RayStartError as error:
        code = 1
        _say(f"error: Ray's head does not start:\n{_last(error.output)}")
    finally:
        if board is not None:
            board.end(code)
        daemons.stop()
    return code


def _open(board: Switchboard) -> None:
    try:
        board.open()
    except OSError as error:
        raise _EndedError(1, f"error: this node cannot listen on port {board.port}: {error.strerror}") from error


def _own_address(job: Job, signals: Signals) -> str:
    if job.nodes == 1:
        return LOOPBACK
    found = _looked_up(job.host, signals)
    # Many a machine knows its own name as an address that nobody else reaches it by (127.0.1.1).
    here = found.startswith("127.") and found != job.host
    return outward_address() or found if here else found


def _looked_up(host: str, signals: Signals) -> str:
    """Give the address of a name, which a pod may have before its cluster knows it."""
    end = time.monotonic() + NAME_S
    while True:
        _raise_for(signals)
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            if time.monotonic() > end:
                message = f"error: after {NAME_S:.0f} s the name {host} has no address: {error.strerror}"
                raise _EndedError(1, message) from error
        time.sleep(LOOK_S)


def _wait_for_all(board: Switchboard, daemons: Daemons, signals: Signals) -> None:
    end = time.monotonic() + JOIN_S
    while missing := board.missing():
        _raise_for(signals)
        _raise_for_ray(daemons)
        if time.monotonic() > end:
            ranks = ", ".join(map(str, missing))
            raise _EndedError(LOST, f"error: after {JOIN_S:.0f} s these nodes have not joined Ray: {ranks}")
        time.sleep(LOOK_S)


def _drive(job: Job, environ: dict[str, str], board: Switchboard, daemons: Daemons, signals: Signals) -> int:
    """Run the driver to its end, or until a node is lost."""
    try:
        driver = subprocess.Popen(job.command, env=environ, start_new_session=True)
    except OSError as error:
        raise _EndedError(NOT_FOUND, f"error: {job.command[0]} cannot be started: {error.strerror}") from error
    with driver:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return shell_status(driver.wait(LOOK_S))
                if signals.number is not None:
                    return _end_driver(driver, signals.number)
                _raise_for_lost(board)
                _raise_for_ray(daemons)
        except _EndedError:
            _end_driver(driver, signal.SIGTERM)
            raise


def _end_driver(driver: subprocess.Popen[bytes], number: int) -> int:
    for sent, patience in ((number, _DRIVER_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            return shell_status(driver.wait(patience))
    return SIGNAL_BASE + signal.SIGKILL


def run_other(job: Job, signals: Signals) -> int:
    """Join Ray on the first node until the job is over; again where that node was started again.

    Args:
        job: The job.
        signals: What this process is asked. SIGTERM and SIGINT, which platforms send to all nodes at once, are the
            first node's to answer; this one ends with it, or by itself half a minute later.

    Returns:
        The driver's exit code; 75 where the first node was lost, 1 where Ray did not start.
    """
    patience = JOIN_S
    while True:
        line = _reach(job, patience, signals)
        if line is None:
            gone = "is not there" if patience == JOIN_S else "is lost"
            _say(f"error: the first node, {job.host}:{job.port}, {gone} after {patience:.0f} s")
            return LOST
        daemons: Daemons | None = None
        try:
            line.send({"rank": job.rank, "key": job.key})
            message = _welcome(line, signals)
            environ = {**os.environ, **_AUTH, _TOKEN: str(message.get("token"))}
            daemons = Daemons(environ, cpus=job.cpus, gpus=job.gpus)
            daemons.join(str(message.get("ray")))
            line.send({"joined": job.rank})
            return _follow(line, daemons, signals)
        except EOFError:
            patience = RESTART_S
        except _EndedError as ended:
            _say(ended.why)
            return ended.code
        except RayStartError as error:
            _say(f"error: this node cannot join Ray:\n{_last(error.output)}")
            return 1
        finally:
            line.close()
            if daemons is not None:
                daemons.stop()


def _reach(job: Job, patience: float, signals: Signals) -> Line | None:
    end = time.monotonic() + patience
    while time.monotonic() < end and signals.number is None:
        if line := call(job.host, job.port):
            return line
        time.sleep(LOOK_S)
    return None


def _welcome(line: Line, signals: Signals) -> dict[str, Any]:
    """Hear where Ray is; one who listens there and says nothing is somebody else, and may go."""
    end = time.monotonic() + RESTART_S
    while time.monotonic() < end:
        _raise_for(signals)
        if message := line.receive():
            return message
    raise EOFError


def _follow(line: Line, daemons: Daemons, signals: Signals) -> int:
    asked: float | None = None
    while True:
        message = line.receive()
        if message is None:
            _raise_for_ray(daemons)
            # The driver is asked too, and needs its workers until it has ended; where it is not, this node goes alone.
            asked = asked or (time.monotonic() if signals.number is not None else None)
            if asked is not None and time.monotonic() - asked > _DRIVER_S + RETURN_S:
                _raise_for(signals)
        elif isinstance(message.get("exit"), int):
            code: int = message["exit"]
            return code


def _raise_for(signals: Signals) -> None:
    if signals.number is not None:
        raise _EndedError(SIGNAL_BASE + signals.number)


def _raise_for_lost(board: Switchboard) -> None:
    if lost := board.lost(RETURN_S):
        raise _EndedError(LOST, f"error: the job has lost the nodes with the ranks {', '.join(map(str, lost))}")


def _raise_for_ray(daemons: Daemons) -> None:
    if name := daemons.ended():
        raise _EndedError(LOST, f"error: Ray's {name} has ended on this node")


def _last(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.splitlines()[-_LAST_LINES:])


def _say(text: str) -> None:
    if text:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
