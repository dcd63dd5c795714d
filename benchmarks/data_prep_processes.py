"""Run a command and watch it: how long it takes, how much memory all of its processes need, and when files appear.

Memory is the proportional set size (PSS) from /proc/PID/smaps_rollup, where a page that several processes share counts
once altogether. It is summed over the command's process and all below it, and sampled five times a second, as their
processor time is.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_EVERY_S = 0.2
LOOK_EVERY_S = 0.01
TIMEOUT_S = 3600
PSS = b"Pss:"
TICKS = os.sysconf("SC_CLK_TCK")
"""Units of processor time in a second."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command took.

    Args:
        seconds: Wall time from start to end.
        cpu_s: Processor time of all its processes, but for what came after the last sample of each.
        curve: Seconds since the start, bytes of memory of all its processes, and how many these were.
        appeared_s: Seconds from the start to the first file in the folder that was watched; None without one.
        appeared_cpu_s: Processor time of all its processes until then.
        output: What it printed.
        started: When it was started, in seconds since the epoch.
    """

    seconds: float
    cpu_s: float
    curve: tuple[tuple[float, int, int], ...]
    appeared_s: float | None
    appeared_cpu_s: float
    output: str
    started: float

    @property
    def peak_bytes(self) -> int:
        """Most memory of all its processes together, in bytes."""
        return max((memory for _, memory, _ in self.curve), default=0)


def run(command: Sequence[str], environment: Mapping[str, str], *, cwd: Path, watched: Path | None = None) -> Ran:
    """Run a command to its end.

    Args:
        command: The command.
        environment: Its environment variables.
        cwd: Its working directory.
        watched: A folder in which to wait for the first file; it need not be there yet.

    Raises:
        RuntimeError: It failed; the message holds the end of what it said.
    """
    started, begin = time.time(), time.perf_counter()
    with subprocess.Popen(
        list(command), env=dict(environment), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watch = _Watch(process.pid, begin, watched)
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            seconds = time.perf_counter() - begin
            process.kill()
            watch.end()
    if process.returncode != 0:
        message = f"{' '.join(command)} failed with status {process.returncode}:\n{output[-4000:]}"
        raise RuntimeError(message)
    return Ran(seconds, watch.cpu_s, tuple(watch.curve), watch.appeared_s, watch.appeared_cpu_s, output, started)


class _Watch:
    """Two threads that look at a process, for as long as it runs."""

    def __init__(self, pid: int, begin: float, folder: Path | None) -> None:
        self.curve: list[tuple[float, int, int]] = []
        self.appeared_s: float | None = None
        self.appeared_cpu_s = 0.0
        self._cpu_s: dict[int, float] = {}
        self._pid, self._begin, self._folder = pid, begin, folder
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._sample), threading.Thread(target=self._look)]
        for thread in self._threads:
            thread.start()

    @property
    def cpu_s(self) -> float:
        """Processor time of all processes, as far as it was seen."""
        return sum(self._cpu_s.values())

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            found = tree(self._pid)
            sizes = [size for pid in found if (size := memory(pid))]
            self._cpu_s |= found
            if sizes:
                self.curve.append((time.perf_counter() - self._begin, sum(sizes), len(sizes)))

    def _look(self) -> None:
        while self._folder is not None and self.appeared_s is None and not self._ended.wait(LOOK_EVERY_S):
            if any(path.is_file() for path in self._folder.rglob("*")):
                self.appeared_s = time.perf_counter() - self._begin
                self.appeared_cpu_s = sum((self._cpu_s | tree(self._pid)).values())


def tree(pid: int) -> dict[int, float]:
    """Give a process and all below it, each with its processor time in seconds; nothing for one that is gone.

    Args:
        pid: The process.
    """
    times: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (fields := status(folder)):
            one = int(folder.name)
            children.setdefault(int(fields[1]), []).append(one)
            times[one] = (int(fields[11]) + int(fields[12])) / TICKS
    found = [pid]
    for one in found:  # it grows while it is gone through
        found.extend(children.get(one, ()))
    return {one: times[one] for one in found if one in times}


def status(folder: Path) -> list[bytes]:
    """Give the fields of a process's status from the third on; none for one that is gone.

    Args:
        folder: Its folder below /proc.
    """
    try:
        # The name of the program comes before in brackets, and may hold anything.
        return (folder / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def memory(pid: int) -> int:
    """Give the proportional set size of a process in bytes, 0 for one that is gone.

    Args:
        pid: The process.
    """
    try:
        content = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return 0
    sizes = (line.split()[1] for line in content.splitlines() if line.startswith(PSS))
    return sum(int(size) * 1024 for size in sizes)


def draw(curves: Mapping[str, Sequence[tuple[float, int, int]]], path: Path, limit_bytes: int) -> None:
    """Draw memory over time.

    Args:
        curves: Name to the curve of a `Ran`.
        path: The picture; its suffix decides the format.
        limit_bytes: What is promised, a line across.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second, and is not always asked for

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot([seconds for seconds, _, _ in curve], [size / 1e6 for _, size, _ in curve], label=name)
    axes.axhline(limit_bytes / 1e6, color="black", linestyle=":", label="promised")
    axes.set(xlabel="seconds", ylabel="MB, all processes", ylim=(0, None))
    axes.legend()
    figure.savefig(path)


def sketch(curve: Sequence[tuple[float, int, int]], width: int = 60) -> str:
    """Give a curve of memory as one line of text, and its highest point.

    Args:
        curve: What a `Ran` holds.
        width: Characters of the line.
    """
    if not curve:
        return ""
    levels = " .:-=+*#%@"
    highest = max(size for _, size, _ in curve)
    columns = min(width, len(curve))
    chosen = [curve[number * len(curve) // columns : (number + 1) * len(curve) // columns] for number in range(columns)]
    peaks = [max(size for _, size, _ in part) for part in chosen]
    line = "".join(levels[min(len(levels) - 1, size * len(levels) // (highest + 1))] for size in peaks)
    return f"|{line}| {highest / 1e6:.0f} MB at most in {curve[-1][0]:.0f} s"
