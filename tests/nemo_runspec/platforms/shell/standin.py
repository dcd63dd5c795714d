"""A program that takes ssh's place on PATH: what it is to run elsewhere, it runs here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_SSH = """\
#!/bin/bash
# Leaves a line in `calls` for each call; does what the file `instead` says, where there is one.
folder={folder}
shared=call
for word; do
    [ "$word" = -M ] && shared=master
    last=$word
done
echo $shared >> "$folder/calls"
[ -e "$folder/instead" ] && . "$folder/instead"
exec sh -c "$last"
"""


class StandIn:
    """The program, and what it was called for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "calls").touch()
        (folder / "ssh").write_text(_SSH.format(folder=folder), encoding="utf-8")
        (folder / "ssh").chmod(0o700)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def calls(self) -> list[str]:
        """Tell `master` for each connection that was opened, and `call` for each use of one."""
        return (self._folder / "calls").read_text(encoding="utf-8").split()

    def instead(self, commands: str) -> None:
        """Have it do something else first; nothing to have it do its work again."""
        (self._folder / "instead").write_text(commands, encoding="utf-8")
