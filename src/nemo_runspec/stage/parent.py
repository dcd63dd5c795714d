"""Ending with the process that started this one."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to send this process SIGTERM when its parent dies, however that happens.

    A launcher that is killed with SIGKILL cannot end its ranks; they would go on writing checkpoints beside those of
    the next run. Linux only; elsewhere nothing happens. To the kernel the parent is the *thread* that started this
    process, so a launcher starts its ranks from a thread that stays.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl(PR_SET_PDEATHSIG)")
