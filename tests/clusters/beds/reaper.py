"""A process that takes a bed away when its standard input ends, be it by a stop or by the death of who started it.

Each line that it reads is one thing to undo, as JSON: a list whose first word is one of ACTIONS. They are undone in
reverse order. What could not be undone is written to standard output, one line each. Runs without the project's code.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PATIENCE_S = 5.0
_PAUSE_S = 0.02
# In /proc/PID/stat, after the command's closing parenthesis: the state, and the time when the process started.
_STATE, _STARTED = 0, 19


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return []


def started(pid: int) -> int | None:
    """Give when a process started, in clock ticks since the machine did; None where there is none, or only a zombie."""
    fields = _stat(pid)
    return int(fields[_STARTED]) if fields and fields[_STATE] not in "ZX" else None


def in_namespace(name: str) -> list[int]:
    """Give the processes within a named network namespace."""
    try:
        wanted = Path("/run/netns", name).stat().st_ino
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "ns/net").stat().st_ino == wanted and started(int(entry.name)) is not None:
                found.append(int(entry.name))
    return found


def in_group(folder: Path) -> list[int]:
    """Give the processes in a cgroup and those below it."""
    found: list[int] = []
    for listing in folder.rglob("cgroup.procs"):
        with suppress(OSError):
            found += map(int, listing.read_text(encoding="ascii").split())
    return found


def _kill_all(find: Callable[[], Iterable[int]], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while pids := [pid for pid in find() if pid != os.getpid()]:
        if time.monotonic() > deadline:
            message = f"{what}: still running: {pids}"
            raise TimeoutError(message)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def _run(*argv: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=20)


def stop_process(pid: int, start: int) -> None:
    """Kill one process, unless its number belongs to another by now."""
    _kill_all(lambda: [pid] if started(pid) == start else [], f"process {pid}")


def remove_namespace(name: str) -> None:
    """Kill what runs in a network namespace, and remove it."""
    _kill_all(lambda: in_namespace(name), f"network namespace {name}")
    if Path("/run/netns", name).exists():
        _run("ip", "netns", "del", name)


def remove_group(path: str) -> None:
    """Kill what is in a cgroup, and remove it with those below it."""
    folder = Path(path)
    for frozen in folder.rglob("freezer.state"):
        with suppress(OSError):
            frozen.write_text("THAWED", encoding="ascii")
    _kill_all(lambda: in_group(folder), path)
    below = sorted((entry for entry in folder.rglob("*") if entry.is_dir()), reverse=True)
    for each in (*below, *([folder] if folder.exists() else [])):
        each.rmdir()


def remove_link(name: str) -> None:
    """Remove a network interface."""
    if Path("/sys/class/net", name).exists():
        _run("ip", "link", "del", name)


def remove_user(name: str) -> None:
    """Remove an account with everything that runs under it."""
    if subprocess.run(["/usr/bin/id", name], check=False, capture_output=True).returncode == 0:
        uid = int(subprocess.check_output(["/usr/bin/id", "-u", name], text=True))
        _kill_all(lambda: [pid for pid in map(int, _numbers()) if _owner(pid) == uid], f"user {name}")
        _run("userdel", "--force", name)


def _numbers() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are all that is wanted


def _owner(pid: int) -> int | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid if started(pid) is not None else None
    return None


def remove_folder(path: str) -> None:
    """Remove a folder and all that is in it."""
    if Path(path).exists():
        shutil.rmtree(path)


def run_command(*argv: str) -> None:
    """Run a command."""
    _run(*argv)


ACTIONS: dict[str, Callable[..., None]] = {
    "process": stop_process,
    "namespace": remove_namespace,
    "group": remove_group,
    "link": remove_link,
    "user": remove_user,
    "folder": remove_folder,
    "run": run_command,
}


def main() -> None:
    """Read what to undo until the input ends, and undo it."""
    todo = [json.loads(line) for line in sys.stdin]
    for name, *values in reversed(todo):
        try:
            ACTIONS[name](*values)
        except Exception as error:  # noqa: BLE001 - whatever fails, the rest must be undone too
            with suppress(OSError):  # nobody may be left to read it
                sys.stdout.write(f"{name} {values}: {error} {getattr(error, 'stderr', '') or ''}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    main()
