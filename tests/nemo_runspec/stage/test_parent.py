from __future__ import annotations

import ctypes
import errno
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nemo_runspec.stage import die_with_parent

# A launcher that starts a rank and waits for ever. The rank says that it is bound to the launcher, and then waits too.
RANK = """
import sys, time
from nemo_runspec.stage import die_with_parent
die_with_parent()
print("bound", flush=True)
time.sleep(600)
"""
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_rank_ends_when_its_launcher_is_killed() -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, RANK], stdout=subprocess.PIPE, text=True)
    with launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "bound\n"
        launcher.send_signal(signal.SIGKILL)
        # The rank holds the other end of this pipe: the read ends when the rank does.
        assert launcher.stdout.read() == ""
    assert launcher.returncode == -signal.SIGKILL


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", pytest.fail)
    die_with_parent()


def test_a_refusal_of_the_kernel_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(prctl=refuse))
    with pytest.raises(PermissionError):
        die_with_parent()
