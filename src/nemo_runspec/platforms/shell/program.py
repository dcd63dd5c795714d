"""A script as a command that any login shell takes, and what its output says about how far it came.

Before it starts, and after it has ended, a line with a mark that nobody can foresee is printed: what a login shell
prints before the first mark is not the script's, and without the second one nobody knows how the script has ended.
"""

from __future__ import annotations

import base64
import re
import secrets
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LONGEST: Final = 120_000
"""Bytes of a command line; Linux takes 131,072 for one argument."""
_INCLUDED: Final = re.compile(r"^\. \./([a-z_]+\.sh)$", re.MULTILINE)
_BASH: Final = "bash --noprofile --norc -c"


def script_text(script: Path) -> str:
    """Read a script; a line `. ./NAME.sh` stands for the text of that file beside it, which travels with it."""
    text = script.read_text(encoding="utf-8")
    return _INCLUDED.sub(lambda found: script_text(script.with_name(found[1])), text)


class Run:
    """One run of a script.

    Args:
        script: The script's file.
        arguments: Its `$1`, `$2`, ...
        on_error_line: Called with each line of its standard error as it comes.

    Raises:
        ValueError: The arguments are too long, or one holds a NUL; that is a mistake of the caller's.
    """

    def __init__(
        self, script: Path, arguments: tuple[str, ...], on_error_line: Callable[[str], None] | None = None
    ) -> None:
        """Choose the mark and write the command."""
        self._mark = f"nemo-runspec-{secrets.token_hex(8)}"
        self._on_error_line = on_error_line
        self._rest = b""
        self.started = False
        self.code: int | None = None
        self._lines: list[str] = []
        words = (*_BASH.split(), script_text(script), "nemo-runspec", *arguments)
        if any("\0" in word for word in words):
            message = "an argument of a script cannot hold a NUL character"
            raise ValueError(message)
        program = (
            f"printf '%s\\n' {self._mark}; printf '%s\\n' {self._mark} >&2\n"
            f"{shlex.join(words)}\nprintf '%s %d\\n' {self._mark} \"$?\" >&2\n"
        )
        # As letters and digits alone it passes through login shells that know other quotes than bash, such as csh.
        letters = base64.b64encode(program.encode("utf-8", "surrogateescape")).decode()
        self.command = f"{_BASH} 'eval \"$(printf %s {letters} | base64 -d)\"'"
        if len(self.command) > _LONGEST:
            message = f"a script and its arguments are {len(self.command):,} bytes; what is long belongs in its input"
            raise ValueError(message)

    def error(self, piece: bytes) -> None:
        """Hear what was written to standard error."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._line(line.decode(errors="replace"))

    def _line(self, line: str) -> None:
        if self.code is not None:
            return  # of a process that the script has left behind
        before, mark, code = line.partition(self._mark)
        if mark and not self.started:
            self.started = True
            return
        if mark and code.strip().isdecimal():
            self.code = int(code)
        if not self.started or (mark and not before):
            return
        self._lines.append(before)
        if self._on_error_line is not None:
            self._on_error_line(before)

    def out(self, written: bytes) -> bytes:
        """Give what the script itself has written to its standard output."""
        return written.partition(f"{self._mark}\n".encode())[2]

    @property
    def err(self) -> str:
        """What the script itself has written to its standard error."""
        return "".join(f"{line}\n" for line in self._lines)
