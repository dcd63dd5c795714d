"""A workload over time: its log until it ends, and waiting for a change."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import GoneError, PlatformError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from contextlib import AbstractContextManager

    from nemo_runspec.platforms.http import Patience
    from nemo_runspec.platforms.workload import JobState, Seen

_MARK_BYTES: Final = 512
"""After so many bytes each a log is recognised, or not, when it is read again."""
_DIGEST_BYTES: Final = 8
"""How much of a hash is kept for each mark: 1.6 % of the log."""


class LogReader:
    """Reads one log several times from its beginning, and gives each line once.

    A log that differs anywhere from what was read before, or has ended before it, is that of a container that was
    started again. Its lines are all new, also those that are as before: it is to be read from its beginning.

    Args:
        container: As in `follow`.
    """

    def __init__(self, container: Callable[[], str] = lambda: "") -> None:
        """Have read nothing."""
        self._container = container
        self.is_empty = True
        """Whether nothing has ever been read."""
        self.is_another = False
        """Whether the last reading has met another log, which is to be opened anew to be given."""
        self._begin()

    def _begin(self) -> None:
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._marks = bytearray()
        self._which = ""
        self._read = 0
        self._line = b""

    def lines(self, chunks: Iterable[bytes]) -> Iterator[str]:
        """Give the whole lines that are new; none of a log that turns out to be another.

        Args:
            chunks: The log from its beginning.
        """
        again, at = blake2b(digest_size=_DIGEST_BYTES), 0
        for chunk in chunks:
            new = chunk
            while new and at < self._read:
                end = min(self._read, _next_mark(at))
                piece, new = new[: end - at], new[end - at :]
                again.update(piece)
                at += len(piece)
                if at == end and again.digest() != self._mark(end):
                    yield from self._anew()
                    return
            if new and not self._read:
                self._which = self._container()
            if new:
                at += len(new)
                yield from self._take(new)
        if 0 < at < self._read:  # a log does not shrink
            yield from self._anew()

    def new_container(self) -> Iterator[str]:
        """Before a reading, ask which container it will be of; give what is left of the log of an earlier one."""
        self.is_another = False
        now = self._container() if self._read else ""
        if now and self._which and now != self._which:
            yield from self.rest()
            self._begin()

    def _anew(self) -> Iterator[str]:
        yield from self.rest()
        self._begin()
        self.is_another = True

    def rest(self) -> Iterator[str]:
        """Give what is left of a last line without an end."""
        line, self._line = self._line, b""
        if line:
            yield _text(line)

    def _mark(self, end: int) -> bytes:
        """Give the hash of the first bytes that were read, up to a mark or to their end."""
        if end == self._read:
            return self._hash.digest()
        last = end // _MARK_BYTES * _DIGEST_BYTES
        return bytes(self._marks[last - _DIGEST_BYTES : last])

    def _take(self, new: bytes) -> Iterator[str]:
        self.is_empty = False
        start = 0
        while start < len(new):
            piece = new[start : start + _next_mark(self._read) - self._read]
            self._hash.update(piece)
            self._read += len(piece)
            start += len(piece)
            if self._read % _MARK_BYTES == 0:
                self._marks += self._hash.digest()
        *whole, self._line = (self._line + new).split(b"\n")
        yield from map(_text, whole)


def _next_mark(at: int) -> int:
    return (at // _MARK_BYTES + 1) * _MARK_BYTES


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Reading:
    """How one reading of a log went."""

    failure: PlatformError | None
    is_there: bool
    got_lines: bool


def _read(
    open_log: Callable[[], AbstractContextManager[Iterator[bytes]]], reader: LogReader
) -> Generator[str, None, _Reading]:
    got_lines = False
    try:
        with open_log() as chunks:
            for line in reader.lines(chunks):
                got_lines = True
                yield line
    except GoneError:  # not yet, or no longer: the state tells which
        return _Reading(None, is_there=False, got_lines=got_lines)
    except RefusedError as error:  # how Kubernetes says that a container is still waiting to start
        return _Reading(error, is_there=False, got_lines=got_lines)
    except UnreachableError as error:
        return _Reading(error, is_there=True, got_lines=got_lines)
    return _Reading(None, is_there=True, got_lines=got_lines)


def follow(
    open_log: Callable[[], AbstractContextManager[Iterator[bytes]]],
    look: Callable[[], Seen],
    patience: Patience,
    container: Callable[[], str] = lambda: "",
) -> Iterator[str]:
    """Give a log line by line until its workload is over and the log at its end.

    It waits for a log that is not there yet, and asks again when the connection breaks or ends early.

    Args:
        open_log: Opens the log at its beginning.
        look: Asks how the workload stands.
        patience: How long to wait.
        container: Tells a pod's containers that came one after the other apart, where the platform does: what they
            write may be the same to the last byte.

    Raises:
        DeniedError: The credential does not permit reading it.
        RefusedError: The workload is over, and the platform still does not give its log.
        UnreachableError: The platform gave neither log nor state for as long as the deadline.
    """
    reader = LogReader(container)
    wait_s = patience.first_wait_s
    answered = patience.clock()
    over = look().state.is_final
    while True:
        yield from reader.new_container()
        reading = yield from _read(open_log, reader)
        if reader.is_another:
            answered = patience.clock()
            continue
        failure, lost = reading.failure, isinstance(reading.failure, UnreachableError)
        if over and not lost:
            yield from reader.rest()
            if failure is not None and reader.is_empty:
                raise failure
            return
        if not lost or reading.got_lines:
            answered = patience.clock()
        elif failure is not None and patience.clock() - answered > patience.deadline_s:
            raise failure
        # A log that has ended while the workload goes on is most likely that of a pod which has.
        longest_s = patience.longest_wait_s if lost else patience.quiet_s if reading.is_there else patience.poll_s
        wait_s = patience.first_wait_s if reading.got_lines else min(2 * wait_s, longest_s)
        over = _over_within(wait_s, look, patience, already=over)


def _over_within(wait_s: float, look: Callable[[], Seen], patience: Patience, *, already: bool) -> bool:
    """Wait, unless the workload is over before that, and tell whether it is."""
    end = patience.clock() + wait_s
    while already or not look().state.is_final:
        if patience.clock() >= end:
            return already
        patience.sleep(min(wait_s, patience.longest_wait_s))
    return True


def stop(ask: Callable[[], object], look: Callable[[], Seen], states: frozenset[JobState], patience: Patience) -> bool:
    """Ask for a workload's end and look until it has come; False when it is refused, or takes too long.

    Args:
        ask: Asks for the end; asked again while the platform does not know the workload yet.
        look: Asks how the workload stands.
        states: What counts as the end.
        patience: How long to wait.
    """
    end = patience.clock() + patience.stop_s
    accepted = False
    while True:
        if not accepted:
            try:
                ask()
                accepted = True
            except GoneError:
                pass  # gone before it was asked, or not known yet: the state tells which
            except RefusedError:
                return look().state in states
        if look().state in states:
            return True
        if patience.clock() + patience.poll_s > end:
            return False
        patience.sleep(patience.poll_s)


class Newborns:
    """Knows which workloads were created here so recently that their platform may not know them yet.

    Args:
        patience: How long that may be.
    """

    def __init__(self, patience: Patience) -> None:
        """Know none."""
        self._patience = patience
        self._born: dict[str, float] = {}

    def add(self, identifier: str) -> None:
        """Remember a workload that was created just now."""
        self._born[identifier] = self._patience.clock()

    def seen(self, identifier: str) -> None:
        """Forget one that the platform knows: when it is gone now, it is gone."""
        self._born.pop(identifier, None)

    def __contains__(self, identifier: object) -> bool:
        """Tell whether it was created just now and has not been seen."""
        born = self._born.get(identifier) if isinstance(identifier, str) else None
        return born is not None and self._patience.clock() - born < self._patience.newborn_s
