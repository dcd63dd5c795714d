"""Programs of a cluster that tests put on the PATH: an srun that runs its command here, an enroot without registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_SRUN = """#!/bin/bash
printf '%s\\n' "$*" >>"$STAND_INS/srun.log"
while [ "${1#--}" != "$1" ]; do shift; done
[ ! -e "$STAND_INS/srun.fails" ] || { cat "$STAND_INS/srun.fails" >&2; exit 1; }
exec "$@"
"""

# Waits at the gate, if there is one, with half an image written: a test opens it by removing the file.
_ENROOT = """#!/bin/bash
printf '%s %s\\n' "$*" "$ENROOT_CACHE_PATH" >>"$STAND_INS/enroot.log"
[ ! -e "$STAND_INS/enroot.fails" ] || { cat "$STAND_INS/enroot.fails" >&2; exit 1; }
echo '[INFO] Querying registry' >&2
printf half >"$3"
echo $$ >"$STAND_INS/enroot.pid"
while [ -e "$STAND_INS/gate" ]; do sleep 0.02; done
date +%N >>"$3"
"""


def put_on_path(folder: Path, programs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make programs, and let them be found before all others.

    Args:
        folder: Where to make them; `$STAND_INS` of each, since a script gets no other variables.
        programs: Name -> text.
        monkeypatch: pytest's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        path = folder / name
        path.write_text(text.replace("$STAND_INS", str(folder)), encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def make_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an srun and an enroot on the PATH, and give the folder of what they note."""
    return put_on_path(folder, {"srun": _SRUN, "enroot": _ENROOT}, monkeypatch)


def lines(path: Path) -> list[str]:
    """Give the lines of a file; none where it is not there."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
