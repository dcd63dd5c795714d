"""Watch a submitted workload to its end: its state, the output of every pod, and the exit codes that they tell."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover import exit_code_of
from nemo_runspec.errors import SIGNAL_BASE, DeniedError, PlatformError
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemo_runspec.platforms.workload import Platform, Seen, Submitted

FIRST_LOOK_S = 0.2
"""How long after a change the platform is asked again at first; a short job's end is seen soon."""

SLOWEST_LOOK_S = 5.0
"""How often a platform is asked about a job that just goes on."""

LAST_LINES_S = 15.0
"""How long the output of an ended job may be silent before nothing more of it is expected."""

_JOIN_S = 0.5

# Exit codes of pods that were ended, the likeliest to be nobody's fault last: SIGKILL may be for memory.
_ENDED_BY_OTHERS = {SIGNAL_BASE + signal.SIGKILL: 1, SIGNAL_BASE + signal.SIGINT: 2, SIGNAL_BASE + signal.SIGTERM: 3}
_LEPTON_REPLICA: Final = re.compile(r"(?P<index>\d+)-[a-z0-9]{5}")

_WITHOUT_PODS = frozenset({JobState.QUEUED, JobState.UNKNOWN, JobState.UNREACHABLE, JobState.LOST})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a workload ended.

    Args:
        seen: What its platform said last.
        exit_codes: Pod -> the exit code that its output told, in the order in which they ended.
    """

    seen: Seen
    exit_codes: Mapping[str, int]

    @property
    def state(self) -> JobState:
        """Its last state."""
        return self.seen.state

    @property
    def failure(self) -> tuple[str, int] | None:
        """Give the pod that failed by itself, and its exit code.

        When one pod fails, the platform ends the others with a signal, and logs arrive in any order: a pod that a
        signal has ended counts only where no other one has failed.
        """
        failed = [(pod, code) for pod, code in self.exit_codes.items() if code]
        return min(failed, key=lambda item: _ENDED_BY_OTHERS.get(item[1], 0), default=None)


class Follower:
    """Follows one workload.

    Args:
        platform: Its platform.
        workload: The workload.
        show: Called with each line of output and the pod it comes from; calls do not overlap.
        say: Called with each thing worth knowing about the workload itself.
        clock: Gives seconds.
    """

    def __init__(
        self,
        platform: Platform,
        workload: Submitted,
        *,
        show: Callable[[str, str], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing seen."""
        self._platform = platform
        self._workload = workload
        self._show = show
        self._say = say
        self._clock = clock
        self._readers: dict[str, threading.Thread] = {}
        self._exit_codes: dict[str, int] = {}
        self._showing = threading.Lock()
        self._wake = threading.Event()
        self._left = threading.Event()
        self._last_line = 0.0
        self._unlisted = False

    def leave(self) -> None:
        """Make `run` return at the next look, whatever the workload does; may be called from another thread."""
        self._left.set()
        self._wake.set()

    def run(self) -> Ending:
        """Follow to the end, showing output as it comes.

        A platform that cannot be asked for a while says nothing about the workload: it is asked again.

        Raises:
            DeniedError: The credential is not accepted any more.
        """
        last: Seen | None = None
        wait_s = FIRST_LOOK_S
        while True:
            seen = self._platform.look(self._workload)
            if last is None or (seen.state, seen.word, seen.attempt) != (last.state, last.word, last.attempt):
                self._tell(seen)
                wait_s = FIRST_LOOK_S
            last = seen
            if seen.state not in _WITHOUT_PODS:
                self._read_new_pods(last=seen.state.is_final)
            if seen.state.is_final or self._left.is_set():
                break
            if self._wake.wait(wait_s):
                wait_s = FIRST_LOOK_S
            self._wake.clear()
            wait_s = min(wait_s * 1.5, SLOWEST_LOOK_S)
        self._await_last_lines()
        with self._showing:
            return Ending(last, dict(self._exit_codes))

    def _await_last_lines(self) -> None:
        self._last_line = self._clock()
        for pod, reader in self._readers.items():
            while reader.is_alive() and not self._left.is_set() and self._clock() - self._last_line < LAST_LINES_S:
                reader.join(_JOIN_S)
            if reader.is_alive() and not self._left.is_set():
                with self._showing:
                    self._show(
                        pod, f"its log does not end, and has been silent for {LAST_LINES_S:.0f} s: lines may lack"
                    )

    def _tell(self, seen: Seen) -> None:
        if seen.state is JobState.UNREACHABLE:
            self._say(f"{self._workload.name}: the platform cannot be asked just now; the job is not touched by that")
        else:
            word = f" ({seen.word})" if seen.word and seen.word.lower() != seen.state.value else ""
            again = (
                f", started again {seen.attempt} times"
                if seen.attempt > 1
                else ", started again"
                if seen.attempt
                else ""
            )
            self._say(f"{self._workload.name}: {seen.state.value}{word}{again}")

    def _read_new_pods(self, *, last: bool) -> None:
        try:
            pods = self._platform.pods(self._workload)
        except PlatformError as error:
            hopeless = isinstance(error, DeniedError) or last
            if hopeless and not self._readers and not self._unlisted:
                self._unlisted = True
                self._say(f"{self._workload.name}: its pods cannot be listed, so no output is shown: {error.message}")
            return  # asked again at the next look
        for pod in pods:
            if pod not in self._readers:
                # A daemon: output that never ends must not keep the command from ending.
                self._readers[pod] = threading.Thread(target=self._read, args=(pod,), daemon=True, name=f"log {pod}")
                self._readers[pod].start()

    def _read(self, pod: str) -> None:
        try:
            for line in self._platform.log(self._workload, pod):
                self._take(pod, line)
        except PlatformError as error:
            with self._showing:
                self._show(pod, f"its log cannot be read: {error.message}")
        finally:
            self._wake.set()

    def _take(self, pod: str, line: str) -> None:
        told = exit_code_of(line)
        with self._showing:
            if told is not None:
                self._exit_codes[pod] = told[1]
            self._show(pod, line)
            self._last_line = self._clock()


def log_lines(platform: Platform, workload: Submitted, title: str = "") -> Iterator[str]:
    """Yield the lines of all pods as they come, each with its pod's short name, until the workload has ended.

    Args:
        platform: Where it runs.
        workload: The workload.
        title: What tells its lines from those of other workloads, where several are shown together.

    Raises:
        PlatformError: The platform does not let us ask.
    """
    for pod, line in lines_of(platform, workload):
        yield f"[{title}{'/' if title else ''}{short_name(pod, workload.name)}] {line}"


def lines_of(
    platform: Platform,
    workload: Submitted,
    *,
    first_s: float | None = None,
    quiet_s: float | None = None,
    all_s: float | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield each line of all pods with its pod, as they come, until the workload has ended.

    Args:
        platform: Where it runs.
        workload: The workload.
        first_s: How long the first line is waited for, in seconds; None for as long as it takes.
        quiet_s: How long every other one is waited for.
        all_s: How long after the first one no more are given, for a job that is never quiet.

    Raises:
        PlatformError: The platform does not let us ask.
    """
    lines: SimpleQueue[tuple[str, str] | None] = SimpleQueue()
    failures: list[PlatformError] = []
    follower = Follower(platform, workload, show=lambda pod, line: lines.put((pod, line)), say=lambda _: None)

    def run() -> None:
        try:
            follower.run()
        except PlatformError as error:
            failures.append(error)
        finally:
            lines.put(None)

    # A daemon: a log that never ends must not keep a client from ending.
    threading.Thread(target=run, daemon=True, name=f"follow {workload.name}").start()
    wait_s, end = first_s, float("inf")
    try:
        while time.monotonic() < end and (line := lines.get(timeout=wait_s)) is not None:
            if all_s is not None and end == float("inf"):
                end = time.monotonic() + all_s
            wait_s = quiet_s
            yield line
    except Empty:
        return  # silent: that is all for now
    finally:
        follower.leave()
    for failure in failures:
        raise failure


def printable(text: str) -> str:
    """Give a text as standard output takes it: what its encoding lacks is written as an escape."""
    encoding = sys.stdout.encoding or "utf-8"  # a notebook's has none
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def short_name(pod: str, workload: str) -> str:
    """Give what tells a pod from the others of its workload: `worker-0`, or `0` on Lepton.

    Args:
        pod: The pod's name.
        workload: The workload's name, with which it begins.
    """
    rest = pod.removeprefix(f"{workload}-")
    replica = _LEPTON_REPLICA.fullmatch(rest)
    return replica["index"] if replica else rest
