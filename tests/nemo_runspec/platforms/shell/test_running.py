"""Running a program: what it reads and writes, and its deadline."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError, ended_when_abandoned
from nemo_runspec.platforms.shell.running import OverdueError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


def test_a_program_reads_and_writes_much_at_once() -> None:
    data = os.urandom(1 << 20)
    ended = run(["sh", "-c", "tee /dev/stderr"], until=soon(), stdin=data)
    assert (ended.code, ended.out == data, ended.err == data) == (0, True, True)


def test_a_program_need_not_read_what_it_is_given() -> None:
    assert run(["sh", "-c", "exit 3"], until=soon(), stdin=bytes(1 << 20)).code == 3


def test_a_signal_is_a_negative_code() -> None:
    assert run(["sh", "-c", "kill -TERM $$"], until=soon()).code == -signal.SIGTERM


def test_standard_error_is_told_as_it_comes() -> None:
    pieces: list[bytes] = []
    run(["sh", "-c", "echo one >&2; echo two >&2"], until=soon(), on_error=pieces.append)
    assert b"".join(pieces) == b"one\ntwo\n"


def test_at_the_deadline_a_program_is_killed_with_what_it_has_started() -> None:
    began = time.monotonic()
    with pytest.raises(OverdueError) as overdue:
        run(["sh", "-c", "echo $$; sleep 60 & wait"], until=soon(0.5))
    assert time.monotonic() - began < 10
    group = int(overdue.value.out)
    with suppress(ProcessLookupError):
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(0.05)
        pytest.fail("the program's child is still there")


def test_a_program_that_closes_its_outputs_and_stays_is_overdue_too() -> None:
    with pytest.raises(OverdueError):
        run(["sh", "-c", "exec >&- 2>&-; sleep 60"], until=soon(0.5))


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/nowhere/at-all"], until=soon())


@pytest.fixture
def give_up() -> Iterator[Callable[[bytes], None]]:
    """Give what gives the test's submission up as soon as a program says something."""
    event = threading.Event()
    token = ABANDONED.set(event)
    yield lambda _: event.set()
    ABANDONED.reset(token)


@pytest.mark.parametrize("writes", ["", "exec >&- 2>&-;"])
def test_a_program_of_a_step_that_may_be_ended_ends_with_the_submission(
    give_up: Callable[[bytes], None], writes: str
) -> None:
    began, said = time.monotonic(), list[bytes]()

    def heard(piece: bytes) -> None:
        said.append(piece)
        give_up(piece)

    with ended_when_abandoned(), pytest.raises(AbandonedError):
        run(["sh", "-c", f"echo $$ >&2; {writes} sleep 60 & wait"], until=soon(), on_error=heard)
    assert time.monotonic() - began < 5
    group = int(b"".join(said))
    while alive(group):  # until somebody has buried the last of it
        assert time.monotonic() - began < 20
        time.sleep(0.02)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_that_does_not_heed_it_is_killed(give_up: Callable[[bytes], None]) -> None:
    with ended_when_abandoned(), pytest.raises(AbandonedError):
        run(["sh", "-c", "trap '' TERM; echo >&2; sleep 60 & wait; sleep 60"], until=soon(), on_error=give_up)


def test_another_program_comes_to_its_end(give_up: Callable[[bytes], None]) -> None:
    assert run(["sh", "-c", "echo >&2; sleep 0.6; exit 3"], until=soon(), on_error=give_up).code == 3
