"""A real Slurm with two nodes on this machine, with accounting and GPUs, and the ways to disturb it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters.beds import reaper
from tests.clusters.beds.network import Network
from tests.clusters.beds.ports import free_ports
from tests.clusters.beds.processes import Daemon, Keeper, command, wait_until
from tests.clusters.beds.slurm_clients import SlurmClients
from tests.clusters.beds.slurm_files import Layout
from tests.clusters.beds.slurm_folders import make_folders, make_user

if TYPE_CHECKING:
    from collections.abc import Iterable

NODES = ("n1", "n2")
ACCOUNT = "research"
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "ip", "iptables", "nsenter", "unsquashfs", "gcc")

# Not the folder of TMPDIR, which the bed's ordinary user may not be able to reach.
REACHABLE = Path("/tmp")  # noqa: S108 - the name below it is random, and a folder of that name must not exist

_READY_S = 60.0


class BedError(Exception):
    """A bed did not come up, or did not go away."""


@dataclass
class SlurmBed(SlurmClients):
    """A Slurm of one's own. Made by `start`.

    Attributes:
        nodes: The names of its nodes.
        images: Where `name+tag` is the root folder of the image `name:tag`.
    """

    _keeper: Keeper
    _layout: Layout
    nodes: tuple[str, ...] = NODES
    _daemons: dict[str, Daemon] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path | None = None, *, accounting: bool = True, min_job_age: int = 300) -> SlurmBed:
        """Start one, and wait until both nodes are idle.

        Args:
            folder: A folder that does not exist yet and that everyone may reach; without it, a new one in /tmp.
            accounting: Whether there is a slurmdbd with a database.
            min_job_age: Seconds after which the controller forgets a job that has ended; 2 at least.

        Raises:
            BedError: It did not come up.
        """
        keeper = Keeper()
        mask = os.umask(0o022)  # everyone reads the configuration, whatever the caller's files look like
        try:
            return cls._make(keeper, folder, accounting=accounting, min_job_age=min_job_age)
        except (OSError, subprocess.SubprocessError, TimeoutError) as error:
            complaints = keeper.stop()
            notes = getattr(error, "__notes__", ())
            message = "\n".join(["the Slurm bed did not come up", str(error), *notes, *complaints])
            raise BedError(message) from error
        finally:
            os.umask(mask)

    @classmethod
    def _make(cls, keeper: Keeper, folder: Path | None, *, accounting: bool, min_job_age: int) -> SlurmBed:
        suffix = secrets.token_hex(3)
        folder = folder or REACHABLE / f"nemotron-bed-{suffix}"
        keeper.undo("folder", str(folder))
        make_folders(folder)
        user = f"nemo{suffix}"
        keeper.undo("user", user)
        make_user(user, folder)
        network = Network.make(keeper, suffix, NODES)
        controller, database, node = free_ports(3)
        layout = Layout(
            folder,
            f"bed{suffix}",
            socket.gethostname().partition(".")[0],
            network,
            (controller, database, node),
            accounting=accounting,
            min_job_age=min_job_age,
            credential_s=6,
        )
        for name in layout.controllers:
            keeper.undo("group", str(layout.group(name)))
            layout.group(name).mkdir()
        layout.write()
        bed = cls(folder, user, accounting, keeper, layout)
        bed._start_all()
        return bed

    @property
    def images(self) -> Path:
        return self.folder / "registry"

    @property
    def cluster(self) -> str:
        return self._layout.cluster

    @property
    def controllers(self) -> tuple[str, ...]:
        """What jobs are kept in, of `freezer` and `memory`: control groups of the first version, if there are any."""
        return self._layout.controllers

    def publish(self, image: str, archive: Path, **environment: str) -> Path:
        """Let nodes know an image by its name.

        Args:
            image: The name, as in `registry#image:tag`.
            archive: Its files, as a tar archive.
            environment: The variables that it sets.

        Returns:
            Its root folder.
        """
        root = self.images / image.translate(str.maketrans("/:#@", "++++"))
        root.mkdir()
        command("tar", "--extract", "--same-owner", "--directory", str(root), "--file", str(archive))
        lines = (f"{name}={value}\n" for name, value in environment.items())
        (root / "etc/environment").write_text("".join(lines), encoding="utf-8")
        return root

    def record(self, job: str | None = None) -> list[dict[str, Any]]:
        """Give the container options that reached tasks, one entry for each: job, step, task, node, options."""
        files = sorted((self.folder / "containers/records").glob(f"{job or '*'}.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def leftovers(self) -> list[str]:
        """Give the command lines of what runs on the nodes and is no part of Slurm."""
        found = []
        for node in self.nodes:
            for pid in reaper.in_namespace(self._layout.network.namespace(node)):
                words = _command(pid)
                if words and not Path(words[0].rstrip(":")).name.startswith(("slurmd", "slurmstepd")):
                    found.append(" ".join(words))
        return found

    def freeze_controller(self) -> None:
        """Stop the controller from answering: it accepts connections, and reads them when it is thawed."""
        self._daemons["slurmctld"].send(signal.SIGSTOP)

    def thaw_controller(self) -> None:
        self._daemons["slurmctld"].send(signal.SIGCONT)

    def stop_controller(self) -> None:
        self._daemons["slurmctld"].stop()

    def start_controller(self) -> None:
        """Start the controller, with what it knew when it was stopped."""
        self._start("slurmctld", "slurmctld", "-D")
        self._daemons["slurmctld"].wait_ready(self._controller_answers, _READY_S)

    def stop_accounting(self) -> None:
        self._daemons["slurmdbd"].stop()

    def start_accounting(self) -> None:
        self._start("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=f"{self.folder}/run/mariadb.sock")
        self._daemons["slurmdbd"].wait_ready(lambda: self._asks("sacctmgr", "-n", "show", "cluster"), _READY_S)

    def lose_node(self, node: str) -> None:
        """Cut a node off; what runs on it goes on. The controller gives it up after about 20 s."""
        self._layout.network.set_up(node, up=False)

    def return_node(self, node: str) -> None:
        """Let a node that was cut off come back, and wait until jobs can run on it."""
        self._layout.network.set_up(node, up=True)
        wait_until(lambda: self._idle([node]) == 1, _READY_S, f"idle node {node}")

    def arm(self, fault: str) -> None:
        """Let the next sbatch of a client lose its reply: `sbatch_drop` or `sbatch_timeout`, see `shims/sbatch`."""
        (self.folder / "faults" / fault).touch()

    def armed(self, fault: str) -> bool:
        """Say whether a fault still waits for a call."""
        return (self.folder / "faults" / fault).exists()

    def calls(self, program: str) -> int:
        """Count the calls of `sbatch` or `enroot` by clients that have the bed's PATH."""
        return (self.folder / "faults/calls").read_text(encoding="ascii").splitlines().count(program)

    def stop(self) -> None:
        """End everything of it.

        Raises:
            BedError: Something is left.
        """
        complaints = self._keeper.stop()
        if complaints:
            raise BedError("\n".join(complaints))

    def _start_all(self) -> None:
        munge = self.folder / "munge"
        options = [f"--{name}={munge}/{name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]
        self._start("munged", "munged", "--foreground", *options)
        self._daemons["munged"].wait_ready((munge / "socket").is_socket, _READY_S)
        for node in self.nodes:
            into = f"--net=/run/netns/{self._layout.network.namespace(node)}"
            self._start(f"slurmd-{node}", "nsenter", into, "/bin/sh", "-ec", self._layout.node_script(node))
        if self.accounting:
            self._start_database()
            self.start_accounting()
            commands = (
                f"add cluster {self.cluster}\nadd account {ACCOUNT}\nadd user root,{self.user} account={ACCOUNT}\n"
            )
            self.run("sacctmgr", "-i", user="root", text=commands)
        self.start_controller()
        wait_until(lambda: self._idle(self.nodes) == len(self.nodes), _READY_S, "idle nodes")

    def _start_database(self) -> None:
        # No port and no grants: only who may open the socket reaches it, and an empty folder is enough to start from.
        # Nothing is forced to the disk, which takes most of the time and outlasts no crash here.
        run, data = self.folder / "run", self.folder / "db"
        self._start(
            "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={run}/mariadb.sock",
            f"--pid-file={run}/mariadb.pid", "--skip-networking", "--skip-grant-tables", "--debug-no-sync",
            "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        self._daemons["mariadbd"].wait_ready((run / "mariadb.sock").is_socket, _READY_S)

    def _start(self, name: str, *argv: str, **environment: str) -> None:
        log = self.folder / "log" / f"{name}.out"
        self._daemons[name] = self._keeper.start(name, argv, log=log, environment={**self.environment, **environment})

    def _asks(self, *argv: str) -> bool:
        try:
            return self.run(*argv, check=False, timeout_s=2, user="root").returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _controller_answers(self) -> bool:
        return self._asks("scontrol", "ping") and "UP" in self.run("scontrol", "ping", check=False, user="root").stdout

    def _idle(self, nodes: Iterable[str]) -> int:
        listing = self.run(
            "sinfo", "-hN", "-p", "batch", "-n", ",".join(nodes), "-o", "%T", check=False, user="root"
        ).stdout
        return listing.split().count("idle")


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []
