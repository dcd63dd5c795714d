"""The log of a whole job: all of its pods at once, each line with its pod's name."""

from __future__ import annotations

import re
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.workload import Platform, Submitted

INTERVAL_S: Final = 2.0
"""How often it is asked for new pods and for the job's end."""

_LEPTON_REPLICA: Final = re.compile(r"(?P<index>\d+)-[a-z0-9]{5}")


def follow(platform: Platform, workload: Submitted, *, interval_s: float = INTERVAL_S) -> Iterator[str]:
    """Yield the lines of all pods as they come, until the job and its logs have ended.

    Pods that are started later, such as those of a restart, join. A log that cannot be read is a line that says so.

    Args:
        platform: Where the job runs.
        workload: The job.
        interval_s: Seconds between two looks at the job.

    Raises:
        PlatformError: The platform does not let us ask.
    """
    lines: SimpleQueue[str | None] = SimpleQueue()
    known: set[str] = set()
    reading = 0
    while True:
        # In this order: a pod of a job that has ended is among the pods that are listed afterwards.
        ended = platform.look(workload).state.is_final
        for pod in _pods(platform, workload):
            if pod not in known:
                known.add(pod)
                reading += 1
                # A daemon: a log that never ends must not keep a client from ending.
                threading.Thread(target=_read, args=(platform, workload, pod, lines), daemon=True).start()
        if ended and not reading:
            return
        until = time.monotonic() + interval_s
        while (left_s := until - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left_s)
            except Empty:
                break
            if line is not None:
                yield line
                continue
            reading -= 1
            if not reading:
                break


def _pods(platform: Platform, workload: Submitted) -> tuple[str, ...]:
    """List the pods as far as the platform says; the next look finds the rest."""
    try:
        return platform.pods(workload)
    except PlatformError:
        return ()


def _read(platform: Platform, workload: Submitted, pod: str, lines: SimpleQueue[str | None]) -> None:
    label = short_name(pod, workload.name)
    try:
        for line in platform.log(workload, pod):
            lines.put(f"[{label}] {line}")
    except PlatformError as error:
        lines.put(f"[{label}] its log cannot be read: {error.message}")
    finally:
        lines.put(None)


def short_name(pod: str, workload: str) -> str:
    """Give what tells a pod from the others of its job: `worker-0`, or `0` on Lepton.

    Args:
        pod: The pod's name.
        workload: The job's name, with which it begins.
    """
    rest = pod.removeprefix(f"{workload}-")
    replica = _LEPTON_REPLICA.fullmatch(rest)
    return replica["index"] if replica else rest
