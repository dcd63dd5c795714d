"""The output of one task over all its attempts, made of pieces of its files as they come."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LINE: Final = 1 << 20
"""Bytes of a line that are given; what a program writes without ever ending a line must not fill the memory."""

_LOG: Final = re.compile(r"(?P<stream>batch|task-[A-Za-z0-9_-]+)\.(?P<attempt>[0-9]{1,6})\.log")


def stream_of(file: str) -> tuple[str, int] | None:
    """Give a log's stream, such as `task-0`, and its attempt; None where the file is no log.

    Args:
        file: The file's name, without folders.
    """
    found = _LOG.fullmatch(file)
    return (found["stream"], int(found["attempt"])) if found else None


class Splitter:
    """Makes lines of pieces, whatever the bytes are; of a very long line it keeps the beginning."""

    def __init__(self) -> None:
        """Have nothing."""
        self._line = bytearray()
        self._left_out = 0

    def take(self, piece: bytes) -> Iterator[str]:
        """Give the lines that a piece ends.

        Args:
            piece: The next bytes.
        """
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._add(piece[start:end])
            yield self._text()
            start = end + 1
        self._add(piece[start:])

    def rest(self) -> Iterator[str]:
        """Give what is left of a last line without an end."""
        if self._line:
            yield self._text()

    def _add(self, piece: bytes) -> None:
        room = LONGEST_LINE - len(self._line)
        self._line += piece[:room]
        self._left_out += max(0, len(piece) - room)

    def _text(self) -> str:
        text = bytes(self._line).removesuffix(b"\r").decode(errors="replace")
        if self._left_out:
            text += f" [{self._left_out} more bytes of this line are left out]"
        self._line.clear()
        self._left_out = 0
        return text


@dataclass(slots=True)
class _File:
    """One attempt's file: how long it is, and how far it was read."""

    size: int = 0
    offset: int = 0
    lines: Splitter = field(default_factory=Splitter)


class Stream:
    """What one reader has read of a stream.

    Args:
        name: The stream's name: `batch` or `task-0`.
    """

    def __init__(self, name: str) -> None:
        """Have read nothing."""
        self.name = name
        self.quiet = 0
        """How often nothing new was there since the job is over."""
        self.served = 0
        """When it was given something last, as a count of calls."""
        self._files: dict[int, _File] = {}
        self._current = 0
        self._ready: deque[str] = deque()

    def sized(self, attempt: int, size: int) -> None:
        """Take over how long a file is now, in bytes."""
        file = self._files.setdefault(attempt, _File())
        if size < file.offset:
            self._ready.extend(file.lines.rest())
            self._ready.append("[the log has become shorter, and is read again from its beginning]")
            file.offset = 0
        file.size = size

    def wanted(self) -> tuple[int, str] | None:
        """Say what to ask for: nothing while there are lines that nobody has taken, so that they do not pile up."""
        return None if self._ready else self.unread()

    def unread(self) -> tuple[int, str] | None:
        """Say what comes next and is there, as an offset in bytes and a file; the oldest attempt comes first."""
        for attempt, file in sorted(self._files.items()):
            if file.size > file.offset:
                return file.offset, f"{self.name}.{attempt}.log"
        return None

    def take(self, attempt: int, offset: int, piece: bytes) -> bool:
        """Take bytes over, and tell whether they are what comes next.

        Args:
            attempt: Which file they are of.
            offset: Where in it they stand.
            piece: The bytes.
        """
        file = self._files.get(attempt)
        if file is None or file.offset != offset or not piece:
            return False
        if attempt != self._current:
            before = self._files.get(self._current)
            self._ready.extend(before.lines.rest() if before else ())
            self._ready.append(f"[attempt {attempt} {'goes on' if file.offset else 'begins'}]")
            self._current = attempt
        self._ready.extend(file.lines.take(piece))
        file.offset += len(piece)
        return True

    def ready(self) -> list[str]:
        """Hand over the lines that are there."""
        lines = list(self._ready)
        self._ready.clear()
        return lines

    def rest(self) -> Iterator[str]:
        """Give what is left of last lines without an end."""
        for _, file in sorted(self._files.items()):
            yield from file.lines.rest()
