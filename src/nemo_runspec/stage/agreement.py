"""One answer for all processes of a launch to whether a run's folder still has work to do.

Rank 0 decides, since it alone holds the folder. A run that has ended stays ended, so only the answer "work" has to be
handed on: rank 0 leaves it, signed with its launch, in a file beside the folder. Nothing is taken back and nobody
waits for anybody's answer to an answer, so a process that dies at any point blocks no other launch.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from typing import TYPE_CHECKING, TypeVar

from nemo_runspec.artifacts import replace_file
from nemo_runspec.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PATIENCE_S = 600.0
"""How long a rank waits without a sign of rank 0, or of another run that rank 0 may be waiting for."""

_POLL_S = 0.1
# What torchrun tells every rank of a launch alike.
_LAUNCH_VARIABLES = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")

_T = TypeVar("_T")


def launch_name(environment: Mapping[str, str]) -> str:
    """Name a launch: the same text in all of its processes, and another in any other launch.

    Args:
        environment: The process's variables.
    """
    words = [environment.get(name, "") for name in _LAUNCH_VARIABLES]
    if environment.get("LOCAL_WORLD_SIZE") == environment.get("WORLD_SIZE"):
        # All on this machine: they meet at "localhost", as those of other machines with the same folders may.
        words.append(socket.gethostname())
    return " ".join(words)


def announce_work(folder: Path, launch: str) -> None:
    """Tell the other ranks that there is work to do; for rank 0, which holds the folder.

    Args:
        folder: The run's folder.
        launch: What `launch_name` gave.

    Raises:
        ArtifactError: The file cannot be written.
    """
    replace_file(_announcement(folder), launch.encode())


def wait_for_decision(
    folder: Path,
    launch: str,
    finished: Callable[[], _T | None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _T | None:
    """Wait until this launch's rank 0 has announced work or the run has ended; for the other ranks.

    Args:
        folder: The run's folder.
        launch: What `launch_name` gave.
        finished: Gives what a run that ended has left, or None.
        clock: A monotonic clock in seconds.
        sleep: Waits for a number of seconds.

    Returns:
        What `finished` gave, or None when there is work to do.

    Raises:
        ConfigError: Neither rank 0 nor another run has touched the folder for `PATIENCE_S` seconds.
    """
    since = clock()
    while True:
        ended = finished()
        if ended is not None or _announced(folder) == launch:
            return ended
        if clock() - since >= PATIENCE_S:
            if not _is_held(folder):
                message = f"for {PATIENCE_S:.0f} seconds nothing was seen of rank 0 in this folder"
                remedy = (
                    "All ranks need the same output_dir: put it where every node sees it. Or look why rank 0 ended."
                )
                raise ConfigError(message, where=Location(folder), remedy=remedy)
            since = clock()
        sleep(_POLL_S)


def _announcement(folder: Path) -> Path:
    # Not in the folder, which may be published as a whole.
    return folder.with_name(f".{folder.name}.launch")


def _announced(folder: Path) -> str | None:
    try:
        return _announcement(folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _is_held(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a shared file system without locks
    finally:
        os.close(descriptor)
    return False
