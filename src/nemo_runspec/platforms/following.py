"""A workload over time: its log until it ends, and waiting for a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import GoneError, PlatformError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from nemo_runspec.platforms.http import Patience
    from nemo_runspec.platforms.workload import JobState, Seen

_HEAD_BYTES: Final = 4096
"""By so many bytes at its beginning a log is recognised when it is read again."""


class LogReader:
    """Reads one log several times from its beginning, and gives each line once.

    A log that begins otherwise than before is another one, of a container that was started again, and is given whole.
    """

    def __init__(self) -> None:
        """Have read nothing."""
        self._head = b""
        self._read = 0
        self._line = b""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been read."""
        return not self._read

    def lines(self, chunks: Iterable[bytes]) -> Iterator[str]:
        """Give the whole lines that are new.

        Args:
            chunks: The log from its beginning.
        """
        at, known, waiting = 0, self._head, b""
        for chunk in chunks:
            new = chunk
            if at < len(known):  # is it the log that was read before?
                waiting += chunk
                if waiting[: len(known)] != known[: len(waiting)]:
                    yield from self.rest()
                    self._head, self._read, known, at, new = b"", 0, b"", 0, waiting
                elif len(waiting) < len(known):
                    continue
                else:
                    at, new = len(known), waiting[len(known) :]
            start = max(0, self._read - at)
            at += len(new)
            yield from self._take(new[start:])

    def rest(self) -> Iterator[str]:
        """Give what is left of a last line without an end."""
        line, self._line = self._line, b""
        if line:
            yield _text(line)

    def _take(self, new: bytes) -> Iterator[str]:
        self._head += new[: max(0, _HEAD_BYTES - len(self._head))]
        self._read += len(new)
        *whole, self._line = (self._line + new).split(b"\n")
        yield from map(_text, whole)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


def follow(
    open_log: Callable[[], AbstractContextManager[Iterator[bytes]]],
    look: Callable[[], Seen],
    patience: Patience,
) -> Iterator[str]:
    """Give a log line by line until its workload is over and the log at its end.

    It waits for a log that is not there yet, and asks again when the connection breaks or ends early.

    Args:
        open_log: Opens the log at its beginning.
        look: Asks how the workload stands.
        patience: How long to wait.

    Raises:
        DeniedError: The credential does not permit reading it.
        RefusedError: The workload is over, and the platform still does not give its log.
        UnreachableError: The platform gave neither log nor state for as long as the deadline.
    """
    reader = LogReader()
    wait_s = patience.first_wait_s
    answered = patience.clock()
    over = look().state.is_final
    while True:
        failure: PlatformError | None = None
        there, got_lines = True, False
        try:
            with open_log() as chunks:
                for line in reader.lines(chunks):
                    got_lines = True
                    yield line
        except GoneError:
            there = False  # not yet, or no longer: the state tells which
        except RefusedError as error:  # how Kubernetes says that a container is still waiting to start
            there, failure = False, error
        except UnreachableError as error:
            failure = error
        lost = isinstance(failure, UnreachableError)
        if over and not lost:
            yield from reader.rest()
            if failure is not None and reader.is_empty:
                raise failure
            return
        if not lost or got_lines:
            answered = patience.clock()
        elif failure is not None and patience.clock() - answered > patience.deadline_s:
            raise failure
        # A log that has ended while the workload goes on is most likely that of a pod which has.
        longest_s = patience.longest_wait_s if lost else patience.quiet_s if there else patience.poll_s
        wait_s = patience.first_wait_s if got_lines else min(2 * wait_s, longest_s)
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
