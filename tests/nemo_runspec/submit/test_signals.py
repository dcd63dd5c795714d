from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from nemo_runspec.submit import signals
from nemo_runspec.submit.signals import signal_group, signals_passed_on

if TYPE_CHECKING:
    import pytest


class Sent:
    """Keeps what was sent, and tells when there is enough of it."""

    def __init__(self, enough: int) -> None:
        self.numbers: list[int] = []
        self.enough = enough
        self.done = threading.Event()

    def __call__(self, number: int) -> None:
        self.numbers.append(number)
        if len(self.numbers) == self.enough:
            self.done.set()


def test_a_signal_is_passed_on_and_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 0.05)
    sent = Sent(3)
    with signals_passed_on(sent):
        os.kill(os.getpid(), signal.SIGINT)
        assert sent.done.wait(30)
    assert sent.numbers == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def test_a_second_signal_ends_the_job_at_once() -> None:
    sent = Sent(2)
    with signals_passed_on(sent):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert sent.done.wait(30)
    assert sorted(sent.numbers) == sorted([signal.SIGTERM, signal.SIGKILL])


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals_passed_on(Sent(1)):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_group_that_is_gone_is_left_alone() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)  # noqa: S607 - the system's sleep
    signal_group(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    signal_group(process.pid, signal.SIGKILL)
