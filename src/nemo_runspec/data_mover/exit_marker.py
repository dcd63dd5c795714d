"""The last line of a pod's log, which says how its command ended."""

from __future__ import annotations

import re

from nemo_runspec.data_mover.pod.variables import EXIT_MARKER

_LINE = re.compile(re.escape(EXIT_MARKER) + r" (\S+) exit code (\d{1,3})")


def exit_code_of(line: str) -> tuple[str, int] | None:
    """Read the line that a pod prints last.

    Args:
        line: Any line of a pod's log.

    Returns:
        The pod's HOSTNAME and its exit code, or None where it is another line.
    """
    found = _LINE.fullmatch(line.strip())
    return (found[1], int(found[2])) if found else None
