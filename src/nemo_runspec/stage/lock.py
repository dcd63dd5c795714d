"""One run at a time in a run's folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Open until this process ends, however it ends: the kernel then gives the lock to who waits for it.
_held: dict[Path, int] = {}


def hold(folder: Path, waiting: Callable[[], None]) -> None:
    """Keep other processes out of a folder for as long as this one lives.

    A run that was told to stop may still be writing its last checkpoint when the same command is given again.

    Args:
        folder: A run's folder. Holding it twice in one process is holding it once.
        waiting: Called once before waiting for another process.
    """
    if folder in _held:
        return
    # The folder itself is locked: a lock file in it would be published with the rest.
    descriptor = os.open(folder, os.O_RDONLY)
    _held[folder] = descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        # A shared file system without locks: the run is as safe there as it was without one.
        return
