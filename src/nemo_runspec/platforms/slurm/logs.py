"""The logs of a Slurm job, read by one call for all of them at a time, however many are followed."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PlatformError, UnreachableError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.slurm.status import check, look
from nemo_runspec.platforms.slurm.streams import Stream, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from nemo_runspec.platforms.shell import Shell
    from nemo_runspec.platforms.workload import Seen, Submitted

EACH: Final = 256 << 10
"""Bytes of one log that one call gives at most."""
TOTAL: Final = 4 << 20
"""Bytes of all logs that one call gives at most."""

FIRST_S: Final = 0.2
"""How long after something new the logs are read again."""
SLOWEST_S: Final = 1.0
"""How long they are left alone while nothing comes."""

_CALL_S: Final = 60.0
_FIRST_LOOK_S: Final = 0.5
# Longer than a follower's: where it looks and says so, nobody looks twice.
_SLOWEST_LOOK_S: Final = 6.0
_ENOUGH_QUIET: Final = 2
_SLOWER: Final = 1.5

_LOGS: Final = Path(__file__).parent / "remote" / "logs.sh"
_BATCH: Final = "batch"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one call has given: the length of each file, and pieces of files as (file, offset, bytes)."""

    sizes: Mapping[str, int]
    pieces: Sequence[tuple[str, int, bytes]]


class RemoteLogs:
    """Gives the logs of one job to any number of threads, and asks the cluster for all of them at once.

    Whichever thread has nothing to give asks, at most once a second while nothing comes; the others wait for it.

    Args:
        shell: Runs scripts on the cluster.
        home: The folder there that holds our jobs.
        workload: The job.
        patience: How long to wait.
        look_now: Asks how the job stands; `status.look` when None.
    """

    def __init__(
        self,
        shell: Shell,
        home: str,
        workload: Submitted,
        *,
        patience: Patience | None = None,
        look_now: Callable[[], Seen] | None = None,
    ) -> None:
        """Have read nothing."""
        check(workload)
        self._shell = shell
        self._home = home
        self._workload = workload
        self._patience = patience or Patience()
        self._look = look_now or (lambda: look(shell, home, workload, patience=self._patience))
        self._changed = threading.Condition()
        # All that follows is changed under it only.
        self._streams: list[Stream] = []
        self._sizes: dict[str, int] = {}
        self._listed: float | None = None
        self._asking = False
        self._next = 0.0
        self._wait_s = FIRST_S
        self._calls = 0
        self._over = False
        self._looked: float | None = None
        self._look_wait_s = _FIRST_LOOK_S
        self._answered = 0.0
        self._failure: PlatformError | None = None

    def told(self, seen: Seen) -> None:
        """Take over how the job stands from somebody who has looked.

        Args:
            seen: How it stands.
        """
        with self._changed:
            self._looked = self._patience.clock()
            if seen.state.is_final and not self._over:
                self._over, self._answered = True, self._looked
                self._next, self._wait_s = 0.0, FIRST_S
                self._changed.notify_all()

    def pods(self) -> tuple[str, ...]:
        """Name the logs that are there: `NAME-0` for a task, in their order, then `NAME-batch` if it says anything.

        Raises:
            PlatformError: They cannot be asked for.
        """
        with self._changed:
            # Of a job that is over, who asks now asks for the last time.
            is_fresh = not self._over and self._listed is not None and self._patience.clock() - self._listed < SLOWEST_S
            sizes = dict(self._sizes)
        if not is_fresh:
            sizes = dict(self._ask(()).sizes)
            with self._changed:
                self._sizes, self._listed = sizes, self._patience.clock()
        streams = ((stream_of(file), size) for file, size in sizes.items())
        found = {stream[0] for stream, size in streams if stream and (size or stream[0] != _BATCH)}
        return tuple(f"{self._workload.name}-{stream.removeprefix('task-')}" for stream in sorted(found, key=_in_order))

    def lines(self, pod: str) -> Iterator[str]:
        """Give one log line by line, over all attempts, until the job is over and the log at its end.

        Args:
            pod: As `pods` names it; it need not be there yet.

        Raises:
            DeniedError: The machine does not let us in any more.
            UnreachableError: The job is over, and its log could not be read for as long as the deadline.
        """
        which = pod.removeprefix(f"{self._workload.name}-")
        stream = Stream(which if which == _BATCH else f"task-{which}")
        with self._changed:
            if not self._streams:
                self._failure, self._next, self._wait_s = None, 0.0, FIRST_S
                self._answered = self._patience.clock()
            self._streams.append(stream)
            self._size(stream)
        try:
            while True:
                with self._changed:
                    if self._failure is not None:
                        raise self._failure
                    ready = stream.ready()
                    is_over = stream.quiet >= _ENOUGH_QUIET
                    is_mine = not ready and not is_over and self._take_turn()
                yield from ready
                if is_over and not ready:
                    break
                if is_mine:
                    self._turn()
            yield from stream.rest()
        finally:
            with self._changed:
                self._streams.remove(stream)

    def _take_turn(self) -> bool:
        """Tell whether the calling thread is to ask now; where it is not, wait for something to change."""
        now = self._patience.clock()
        if self._asking:
            self._changed.wait(_CALL_S)
            return False
        if now < self._next:
            self._changed.wait(self._next - now)
            return False
        self._asking = True
        return True

    def _turn(self) -> None:
        """Read what is new for everybody, and look how the job stands where that is not known."""
        failure: PlatformError | None = None
        try:
            was_over = self._look_again()
            with self._changed:
                streams = sorted(self._streams, key=lambda stream: stream.served)
                wanted = dict.fromkeys(want for stream in streams if (want := stream.wanted()) is not None)
            answer = self._ask(wanted)
            with self._changed:
                self._deliver(answer, wanted, streams, was_over=was_over)
        except PlatformError as error:
            failure = error
        finally:
            with self._changed:
                self._asking = False
                if failure is not None:
                    self._failed(failure)
                self._changed.notify_all()

    def _look_again(self) -> bool:
        """Look how the job stands, unless somebody has done so just now; tell whether it is over."""
        now = self._patience.clock()
        with self._changed:
            if self._over or (self._looked is not None and now - self._looked < self._look_wait_s):
                return self._over
            self._look_wait_s = min(self._look_wait_s * _SLOWER, _SLOWEST_LOOK_S)
        self.told(self._look())
        return self._over

    def _deliver(
        self, answer: _Answer, asked: Collection[tuple[int, str]], streams: Sequence[Stream], *, was_over: bool
    ) -> None:
        """Give everybody what is new; was_over: whether the job was over before the logs were read."""
        self._calls += 1
        self._sizes = dict(answer.sizes)
        self._listed = self._answered = self._patience.clock()
        given = sum(len(piece) for _, _, piece in answer.pieces)
        soon = False
        for stream in streams:
            self._size(stream)
            got = [_give(stream, *piece) for piece in answer.pieces]
            unread = stream.unread()
            # What was asked for and has not come cannot be read, unless others have taken up all the room.
            is_next = unread is not None and (any(got) or unread not in asked or given >= TOTAL)
            soon = soon or is_next
            if any(got):
                stream.served, stream.quiet = self._calls, 0
            elif was_over and not is_next:
                stream.quiet += 1
        self._wait_s = FIRST_S if given or was_over else min(self._wait_s * _SLOWER, SLOWEST_S)
        self._next = self._listed + (0.0 if soon else self._wait_s)

    def _size(self, stream: Stream) -> None:
        for file, size in self._sizes.items():
            found = stream_of(file)
            if found is not None and found[0] == stream.name:
                stream.sized(found[1], size)

    def _failed(self, error: PlatformError) -> None:
        """Ask again later; an end of trying comes only where the job is known to be over."""
        now = self._patience.clock()
        is_late = self._over and now - self._answered > self._patience.deadline_s
        if not isinstance(error, UnreachableError) or is_late:
            self._failure = error
            return
        self._wait_s = min(max(2 * self._wait_s, self._patience.first_wait_s), self._patience.longest_wait_s)
        self._next = now + self._wait_s

    def _ask(self, wanted: Collection[tuple[int, str]]) -> _Answer:
        asked = "".join(f"{offset} {file}\n" for offset, file in wanted).encode()
        answer = self._shell.bash(
            _LOGS, self._home, self._workload.name, str(EACH), str(TOTAL), stdin=asked, timeout_s=_CALL_S
        )
        lines = answer.out.split(b"\n")
        if b"end" not in lines[-2:]:
            message = f"{self._shell.label} did not give the logs of {self._workload.name}: {answer.err.strip()[-200:]}"
            raise UnreachableError(message)
        return _read(lines)


def _read(lines: Sequence[bytes]) -> _Answer:
    sizes: dict[str, int] = {}
    pieces: list[tuple[str, int, bytes]] = []
    for line in lines:
        match line.split(b"\t"):
            case [b"size", size, file]:
                sizes[file.decode()] = int(size)
            case [b"data", offset, file, text]:
                pieces.append((file.decode(), int(offset), base64.b64decode(text)))
    return _Answer(sizes, pieces)


def _give(stream: Stream, file: str, offset: int, piece: bytes) -> bool:
    found = stream_of(file)
    return found is not None and found[0] == stream.name and stream.take(found[1], offset, piece)


def _in_order(stream: str) -> tuple[bool, str, int]:
    """Sort tasks by their numbers, those of each name together, and the batch script behind them."""
    name, _, number = stream.rpartition("-")
    return stream == _BATCH, name, int(number) if number.isdecimal() else 0
