from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import NemotronError, UnreachableError
from nemo_runspec.executors.file_lock import held, is_held

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from nemo_runspec.executors.file_lock import held
with held(Path(sys.argv[1]), deadline_s=5, what="testing"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold(number: int) -> None:
        with held(tmp_path / "lock", deadline_s=30, what="testing"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(100)))
    assert (set(most), len(most)) == ({1}, 100)
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_without_end_and_a_killed_holder_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        whom = rf"another process \({holder.pid}\)"
        with (
            pytest.raises(UnreachableError, match=rf"{whom} has been testing for 1 s, and still is"),
            held(path, deadline_s=1.2, what="testing", waiting=said.append),
        ):
            pass
        assert is_held(path)
        assert said == [f"waiting for another process ({holder.pid}), which is testing; 1 s at most"]
        holder.kill()
    assert not is_held(path)
    assert not is_held(tmp_path / "none" / "lock")
    with held(path, deadline_s=5, what="testing"):
        assert path.read_text(encoding="utf-8") == str(os.getpid())


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(NemotronError, match="without locks: No locks available"),
        held(tmp_path / "lock", deadline_s=1, what="testing"),
    ):
        pass
