"""A Docker engine of a test's own, in namespaces of its own: nothing that it makes outlives it or meets another's.

A holder process keeps the network, mount and process namespaces in which the engine and its containers live. When the
holder ends, the kernel ends all that is in them: containers that outlived their engine, bridges, iptables' rules and
mounts. Folders of this machine are seen in there as they are, except /run.
"""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.clusters.beds import images
from tests.clusters.beds.processes import Daemon, Keeper
from tests.clusters.beds.reaper import in_group, started

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOOLS: Final = ("dockerd", "containerd", "docker", "docker-init", "debootstrap", "busybox", "nsenter", "unshare")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_UP_S: Final = 60
_DOWN_S: Final = 60
_COMMAND_S: Final = 60


@dataclass(kw_only=True)
class DockerBed:
    """A running engine.

    Args:
        folder: Everything that it writes is in here.
        live_restore: Whether containers outlive the engine, as its `--live-restore` says.
    """

    folder: Path
    live_restore: bool = False
    cgroup: str = field(default_factory=lambda: f"nemotron-bed-{uuid.uuid4().hex[:12]}")
    _keeper: Keeper = field(default_factory=Keeper, init=False, repr=False)
    _holder: Daemon = field(init=False, repr=False)
    _daemon: Daemon | None = field(default=None, init=False, repr=False)

    @classmethod
    def start(cls, folder: Path, *, live_restore: bool = False, names: Iterable[str] = (images.BUSYBOX,)) -> Self:
        """Start an engine that has some images.

        Args:
            folder: Where it writes; short, because the name of a socket may have 107 bytes. Made if it is not there.
            live_restore: As for the class.
            names: Images from `tests.clusters.beds.images`.
        """
        bed = cls(folder=folder, live_restore=live_restore)
        bed.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        bed._hold()
        try:
            bed.start_daemon()
            for name in names:
                bed.load(name)
        except BaseException:  # also Ctrl-C: nothing of a bed that nobody gets may go on
            bed.stop()
            raise
        return bed

    @property
    def socket(self) -> Path:
        """The engine's socket."""
        return self.folder / "docker.sock"

    @property
    def host(self) -> str:
        """The engine's address, for DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What leads a client to it."""
        return {"DOCKER_HOST": self.host}

    def run(self, *argv: str, check: bool = True, timeout: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run the `docker` command on it.

        Args:
            argv: What follows `docker`.
            check: Whether a failure is an error.
            timeout: In seconds.
        """
        command = ["docker", "--host", self.host, *argv]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            message = f"docker {' '.join(argv)} failed ({done.returncode}): {done.stderr}"
            raise RuntimeError(message)
        return done

    def load(self, name: str) -> None:
        """Give the engine an image.

        Args:
            name: From `tests.clusters.beds.images`.
        """
        self.run("import", "--change", f"ENV PATH={images.PATH}", str(images.archive(name)), name)

    def containers(self) -> list[dict[str, Any]]:
        """Give what the engine itself knows of each container, in any state."""
        found = self.run("ps", "--all", "--quiet", "--no-trunc").stdout.split()
        inspected: list[dict[str, Any]] = json.loads(self.run("inspect", *found).stdout) if found else []
        return inspected

    def networks(self) -> list[str]:
        """Give the names of the networks that somebody made."""
        return self.run("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").stdout.split()

    def clear(self) -> None:
        """Remove all containers and networks, as after a test; an engine that the test has left stopped is started."""
        if self._daemon is None or not self._daemon.running():
            self.start_daemon()
        found = self.run("ps", "--all", "--quiet").stdout.split()
        if found:
            self.run("rm", "--force", "--volumes", *found)
        for network in self.networks():
            self.run("network", "rm", network)

    def start_daemon(self) -> None:
        """Start the engine, and wait until it answers."""
        argv = [*self._inside(), "dockerd", *self._options()]
        self._daemon = self._keeper.start("dockerd", argv, log=self.folder / "dockerd.log", environment={})
        self._daemon.wait_ready(lambda: self.run("version", check=False).returncode == 0, _UP_S)

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the engine, and wait until it has ended; its containers go on where `live_restore` is set.

        Args:
            number: How: SIGKILL does not let it do anything before.
        """
        daemon, self._daemon = self._daemon, None
        if daemon is None or not daemon.running():
            return
        self._signal(number)
        daemon.process.wait(_DOWN_S)
        # One that was killed leaves this, and the next would take the number for a running engine's.
        (self.folder / "docker.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let the engine accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        if self._daemon is not None:
            self._daemon.send(signal.SIGCONT)  # nsenter stops with its child

    def _signal(self, number: signal.Signals) -> None:
        # The engine is in a process namespace, where it has the number that it wrote down.
        pid = (self.folder / "docker.pid").read_text(encoding="ascii")
        subprocess.run([*self._inside(), "kill", f"-{int(number)}", pid], timeout=_COMMAND_S, check=True)

    def kill(self) -> None:
        """End the engine with SIGKILL."""
        self.stop_daemon(signal.SIGKILL)

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the engine and start it again.

        Args:
            number: As for `stop_daemon`.
        """
        self.stop_daemon(number)
        self.start_daemon()

    def leftovers(self) -> list[str]:
        """Tell what there is of it on this machine; nothing, once it was stopped."""
        found = [f"cgroup {path}" for path in self._cgroup_folders() if path.exists()]
        found += [f"process {pid}" for pid in {pid for path in self._cgroup_folders() for pid in in_group(path)}]
        if started(self._holder.pid) is not None:
            found.append(f"process {self._holder.pid} with the namespaces")
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        found += [f"mount {line}" for line in mounts if f" {self.folder}" in line]
        return found + ([f"folder {self.folder}"] if self.folder.exists() else [])

    def stop(self) -> None:
        """End it with all that it has made."""
        # Once the holder is killed, the kernel kills all that is in its namespaces, and they are gone.
        complaints = self._keeper.stop()
        if complaints:
            raise RuntimeError("\n".join(complaints))

    def _hold(self) -> None:
        self._keeper.undo("folder", str(self.folder))
        for path in self._cgroup_folders():
            self._keeper.undo("group", str(path))
        ready = self.folder / "held"
        # A /run of its own, because containerd keeps sockets there whatever it is told.
        script = 'ip link set lo up && mount -t tmpfs none /run && touch "$1" && exec sleep infinity'
        argv = [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave"),
            # An init, because containers of an engine that was killed become its children.
            *("docker-init", "-s", "--", "sh", "-c", script, "-", str(ready)),
        ]
        self._holder = self._keeper.start("holder", argv, log=self.folder / "holder.log", environment={})
        self._holder.wait_ready(ready.exists, _UP_S)

    def _inside(self) -> tuple[str, ...]:
        (child,) = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return ("nsenter", "--target", child, "--net", "--mount", "--pid")

    def _options(self) -> tuple[str, ...]:
        named = {
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "host": self.host,
            "pidfile": self.folder / "docker.pid",
            "cgroup-parent": f"/{self.cgroup}",
            "live-restore": str(self.live_restore).lower(),
            "exec-opt": "native.cgroupdriver=cgroupfs",
            # SIGTERM lets containers that ignore it so long.
            "shutdown-timeout": 2,
        }
        return tuple(f"--{name}={value}" for name, value in named.items())

    def _cgroup_folders(self) -> list[Path]:
        """Give where its cgroups are in each hierarchy, on a machine with several and on one with one."""
        several = [path for path in _CGROUPS.iterdir() if (path / "cgroup.procs").is_file() and path.is_mount()]
        return [path / self.cgroup for path in several or [_CGROUPS]]
