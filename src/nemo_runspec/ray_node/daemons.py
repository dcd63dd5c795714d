"""Ray's processes on one node: started, watched, and ended with all that they have started."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)
_END_S: Final = 5.0
_TICK_S: Final = 0.05
# A look goes through all processes of the machine, which may be thousands.
_BETWEEN_LOOKS_S: Final = 2.0
_START_S: Final = 180
_PREFIX: Final = "nemo-ray-"
_LOCK: Final = "lock"
LOOPBACK: Final = "127.0.0.1"


class RayStartError(Exception):
    """Ray's processes do not start.

    Args:
        output: What they have said.
    """

    def __init__(self, output: str) -> None:
        """Keep what was said."""
        super().__init__(output)
        self.output = output


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end: Ray's processes leave the one that starts them."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def cpus(environ: Mapping[str, str]) -> int:
    """Give how many CPUs of this node are the job's.

    Args:
        environ: The node's variables: Slurm's count, where there is one, is below what the node has.
    """
    allowed = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        allowed = max(1, min(allowed, int(quota) // int(period)))
    told = environ.get("SLURM_CPUS_ON_NODE", "")
    # A cluster may be told of more CPUs than its machines have, as a test's is.
    return int(told) if told.isdigit() and int(told) else allowed


def gpus(environ: Mapping[str, str], asked: int) -> int:
    """Give how many GPUs of this node are the job's.

    Args:
        environ: The node's variables.
        asked: How many the job asked for on each node.
    """
    told = environ.get("SLURM_GPUS_ON_NODE", "")
    count = int(told) if told.isdigit() else asked
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    # Ray refuses to have more than a process may see.
    return count if visible is None else min(count, sum(bool(name.strip()) for name in visible.split(",")))


class Daemons:
    """Ray on this node.

    Args:
        environ: The variables of Ray's processes, and so of all workers.
        cpus: CPUs that Ray may give away.
        gpus: GPUs that Ray may give away.
    """

    def __init__(self, environ: Mapping[str, str], *, cpus: int, gpus: int) -> None:
        """Make its folder; start nothing yet."""
        self._environ = dict(environ)
        self._wanted: tuple[str, ...] = ()
        self._next_look = 0.0
        self._daemons: frozenset[int] = frozenset()
        self._resources = [f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        # Not below TMPDIR, which may be long: the paths of Ray's sockets may have 107 characters.
        _sweep(Path("/tmp"))  # noqa: S108 - as said above
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
        # It gets its name when it is held: whoever finds it free may remove the folder.
        self._lock = (self.folder / "new").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.folder / "new").rename(self.folder / _LOCK)

    def start_head(self, address: str) -> str:
        """Start the head, and give where it is.

        Args:
            address: The address of this node as the others have it.

        Raises:
            RayStartError: It does not start.
        """
        self._wanted = ("gcs_server", "raylet")
        port = free_port(address)
        ports = [f"--port={port}", f"--ray-client-server-port={free_port(address)}"]
        self._start(["--head", "--include-dashboard=false", f"--node-ip-address={address}", *ports])
        return f"{address}:{port}"

    def join(self, head: str) -> None:
        """Join a head.

        Args:
            head: Where it is.

        Raises:
            RayStartError: It cannot be joined.
        """
        self._wanted = ("raylet",)
        self._start([f"--address={head}", f"--node-ip-address={address_towards(head)}"])

    def _start(self, arguments: Sequence[str]) -> None:
        common = [
            *self._resources,
            # A folder in ours, because Ray lets everybody into it.
            f"--temp-dir={self.folder / 'ray'}",
            "--disable-usage-stats",
            # Several clusters may be on one machine.
            "--dashboard-agent-listen-port=0",
        ]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *common],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=_START_S,
            )
        except subprocess.TimeoutExpired as error:
            raise RayStartError(str(error)) from error
        if done.returncode:
            raise RayStartError(done.stdout)
        self._daemons = frozenset(descendants())

    def ended(self) -> str | None:
        """Name a process of Ray's that has to run and does not any more; looked at every few seconds."""
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + _BETWEEN_LOOKS_S
        running = {Path(argv[0]).name for argv in map(_argv, descendants()) if argv}
        return next((name for name in self._wanted if name not in running), None)

    def stop(self) -> None:
        """End all that was started on this node, and remove what Ray has left."""
        # Ray's daemons wait for each other when all are asked to end, and have nothing to keep.
        end_descendants(at_once=self._daemons)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _sweep(place: Path) -> None:
    """Remove what nodes of this user have left that were killed: nobody holds their locks any more."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def descendants() -> list[int]:
    """Give the processes below this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The name before it, in brackets, may hold anything.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        own = children.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def end_descendants(at_once: Container[int] = ()) -> None:
    """End the processes below this one, by force where they take their time.

    Args:
        at_once: Those that need no time to end; they do after all others have.
    """
    end = time.monotonic() + _END_S
    for number, spared, until in ((signal.SIGTERM, at_once, end), (signal.SIGKILL, (), end + _END_S)):
        told: set[int] = set()
        while time.monotonic() < until:
            left = [pid for pid in descendants() if pid not in spared]
            if not left:
                break
            for pid in left:
                # What one of them starts at its own end is told too.
                if pid not in told:
                    told.add(pid)
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            _reap()
            time.sleep(_TICK_S)
    _reap()


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def free_port(address: str) -> int:
    """Give a port of an address of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        number: int = probe.getsockname()[1]
        return number


def outward_address() -> str | None:
    """Give the address that this machine has in its network; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # kept for documentation, RFC 5737; nothing is sent
        except OSError:
            return None
        found: str = probe.getsockname()[0]
        return found


def address_towards(head: str) -> str:
    """Give the address of this machine on the way to another one.

    Args:
        head: The other one, as HOST:PORT.
    """
    host, _, port = head.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))
        found: str = probe.getsockname()[0]
        return found
