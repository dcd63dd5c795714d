"""Parts of line files: each line is found once, by the part in which it starts, and no part reads another's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int], bytes]

MARK = b"\xef\xbb\xbf"
# What is read at once to find the end of a line that goes on after a span.
_TAIL = 64 << 10
# Far more than a record has; a file without line ends must not fill the memory. What is read of a line takes several
# times its size, and the tokens of one long text a hundred times.
_LONGEST = 64 << 20


def skip_to_line(read: Read, start: int, end: int, block: int) -> tuple[int, bytes]:
    """Find the first line that starts in a range.

    Args:
        read: Gives so many of the next bytes, the first time the byte before the range.
        start: The range's first byte, which is not the file's first.
        end: The byte after the range.
        block: How many bytes to read at once.

    Returns:
        The offset of the line, or `end` where none starts in the range; and what is read of it already.
    """
    position = start - 1
    # The line after the range's last byte is the next range's.
    while position < end - 1 and (data := read(min(block, end - 1 - position))):
        found = data.find(b"\n") + 1
        if found:
            return position + found, data[found:]
        position += len(data)
    return end, b""


def whole_lines(read: Read, start: int, end: int, block: int, before: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """Give the lines that start in a range, as many together as fit into a block.

    Args:
        read: Gives so many of the next bytes.
        start: Where the first line starts.
        end: The byte after the range; anything large for a stream of unknown length.
        block: How many bytes to read at once; a longer line is given whole nevertheless.
        before: What is read of the first line already.

    Yields:
        An offset, and whole lines from there on. Only the file's last line may lack its end.

    Raises:
        DataError: A line is longer than 64 MiB.
    """
    offset, position = start, start + len(before)
    pending = [before] if before else []
    while position < end and (data := read(min(block, end - position))):
        position += len(data)
        cut = data.rfind(b"\n") + 1
        if not cut:
            refuse_endless(position - offset)
            pending.append(data)
            continue
        yield offset, b"".join((*pending, memoryview(data)[:cut]))
        pending = [data[cut:]] if cut < len(data) else []
        offset = position - len(data) + cut
    if not pending:
        return
    if not pending[-1].endswith(b"\n"):
        pending.extend(_rest_of_line(read, position - offset, block))
    yield offset, b"".join(pending)


def _rest_of_line(read: Read, length: int, block: int) -> Iterator[bytes]:
    size = _TAIL
    while data := read(size):
        cut = data.find(b"\n") + 1
        if cut:
            yield data[:cut]
            return
        yield data
        length += len(data)
        refuse_endless(length)
        size = min(2 * size, block)


def refuse_endless(length: int, what: str = "line") -> None:
    """Refuse a record that would fill the memory.

    Args:
        length: Its length so far, in bytes.
        what: What it is.

    Raises:
        DataError: It is longer than 64 MiB.
    """
    if length > _LONGEST:
        message = f"a {what} is longer than {_LONGEST >> 20} MiB"
        raise DataError(message, remedy=f"Give each record a {what} of its own.")
