"""A real Slurm with two nodes on this machine, with accounting and GPUs, and the ways to disturb it."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters.beds import reaper
from tests.clusters.beds.network import Network
from tests.clusters.beds.ports import free_ports
from tests.clusters.beds.processes import SYSTEM_PATH, Daemon, Keeper, wait_until
from tests.clusters.beds.slurm_files import Layout
from tests.clusters.beds.slurm_folders import make_folders, make_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NODES = ("n1", "n2")
ACCOUNT = "research"
FINAL = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
)
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "ip", "iptables", "nsenter", "unsquashfs", "gcc")

_READY_S = 60.0
_QUEUE_FORMAT = "%i\x1f%j\x1f%k\x1f%T\x1f%u"
_RECORD_FIELDS = "JobID,JobName,Comment,State,User"


class BedError(Exception):
    """A bed did not come up, or did not go away."""


@dataclass
class SlurmBed:
    """A Slurm of one's own. Made by `start`.

    Attributes:
        folder: Everything of it; everyone may look into it.
        config: Its slurm.conf.
        user: An ordinary account, made for the bed.
        work: A folder that belongs to that account, and to nobody else.
        environment: What a client needs: SLURM_CONF, and PATH with the bed's own sbatch and enroot first.
        nodes: The names of its nodes.
        images: Where `name+tag` is the root folder of the image `name:tag`.
    """

    folder: Path
    user: str
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
        try:
            return cls._make(keeper, folder, accounting=accounting, min_job_age=min_job_age)
        except (OSError, subprocess.SubprocessError, TimeoutError, BedError) as error:
            complaints = keeper.stop()
            output = getattr(error, "stderr", None) or ""
            message = "\n".join(["the Slurm bed did not come up", str(error), str(output), *complaints])
            raise BedError(message) from error

    @classmethod
    def _make(cls, keeper: Keeper, folder: Path | None, *, accounting: bool, min_job_age: int) -> SlurmBed:
        suffix = secrets.token_hex(2)
        folder = folder or Path(tempfile.gettempdir(), f"nemotron-bed-{secrets.token_hex(3)}")
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
            credential_s=8,
        )
        for name in layout.controllers:
            keeper.undo("group", str(layout.group(name)))
            layout.group(name).mkdir()
        layout.write()
        bed = cls(folder, user, keeper, layout)
        bed._start_all()
        return bed

    # ---- what a client needs

    @property
    def config(self) -> Path:
        return self.folder / "etc/slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.config), "PATH": f"{self.folder}/bin:{SYSTEM_PATH}"}

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def images(self) -> Path:
        return self.folder / "registry"

    @property
    def cluster(self) -> str:
        return self._layout.cluster

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout_s: float = 30.0,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a client on this machine, in `work`.

        Args:
            argv: The command.
            check: Whether another exit code than 0 is an error.
            timeout_s: How long it may take.
            user: As whom; without it, the bed's ordinary user.
            environment: Variables beside the client's own; nothing else of this process's is seen.
            text: What it reads.

        Raises:
            subprocess.CalledProcessError: It failed; its output is in the message's notes.
            subprocess.TimeoutExpired: It took too long.
        """
        name = user or self.user
        home = "/root" if name == "root" else str(self.folder / "home")
        variables = {
            "HOME": home,
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            **self.environment,
            **(environment or {}),
        }
        done = subprocess.run(
            argv,
            env=variables,
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            user=None if name == "root" else name,
            group=None if name == "root" else name,
            extra_groups=None if name == "root" else [],
            cwd=self.work,
        )
        if check and done.returncode:
            error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
            error.add_note(f"{done.stdout}{done.stderr}")
            raise error
        return done

    def submit(self, script: str, *options: str, user: str | None = None) -> str:
        """Submit the body of a shell script with the real sbatch, and give the job's id."""
        text = f"#!/bin/sh\n{script}\n"
        return (
            self.run("/usr/bin/sbatch", "--parsable", *options, user=user, text=text).stdout.strip().partition(";")[0]
        )

    # ---- what the server knows

    def jobs(self) -> list[dict[str, str]]:
        """Give every job that the controller or the accounting knows: id, name, comment, state and user.

        The comment is the controller's; the accounting keeps none.

        Raises:
            subprocess.SubprocessError: One of them did not answer.
        """
        queue = self.run(
            "squeue", "--noheader", "--all", "--states=all", f"--format={_QUEUE_FORMAT}", user="root"
        ).stdout
        found = {}
        if self._layout.accounting:
            records = self.run(
                "sacct", "--allusers", "--allocations", "--noheader", "--parsable2", "--starttime=now-2days",
                "--delimiter=\x1f", f"--format={_RECORD_FIELDS}", user="root",
            ).stdout  # fmt: skip
            found.update(_rows(records))
        found.update(_rows(queue))
        return [found[number] for number in sorted(found, key=lambda text: (len(text), text))]

    def state(self, job: str) -> str:
        """Give a job's state in capitals, UNKNOWN where neither side knows it; the controller's word comes first."""
        return next((row["state"].partition(" ")[0] for row in self.jobs() if row["id"] == job), "UNKNOWN")

    def wait_for(self, job: str, *states: str, seconds: float = 30.0) -> str:
        """Wait until a job is in one of some states, or without them, at its end; give the state."""
        wanted = states or FINAL
        seen = ["UNKNOWN"]

        def reached() -> bool:
            seen.append(self.state(job))
            return seen[-1] in wanted

        wait_until(reached, seconds, f"job {job} in {'/'.join(wanted)}")
        return seen[-1]

    def exit_code(self, job: str, seconds: float = 15.0) -> str:
        """Give the exit code that the accounting has, such as `3:0`, when the job is in it as ended."""
        found: list[str] = []

        def known() -> bool:
            lines = self.run("sacct", "-nPX", "-j", job, "-o", "State,ExitCode", user="root").stdout.splitlines()
            found[:] = [line.partition("|")[2] for line in lines if line.partition("|")[0].split(" ")[0] in FINAL]
            return bool(found)

        wait_until(known, seconds, f"end of job {job} in the accounting")
        return found[0]

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

    # ---- disturbances

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

    # ---- how it comes up

    def _start_all(self) -> None:
        munge = self.folder / "munge"
        options = [f"--{name}={munge}/{name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]
        self._start("munged", "munged", "--foreground", *options)
        self._daemons["munged"].wait_ready((munge / "socket").is_socket, _READY_S)
        for node in self.nodes:
            into = f"--net=/run/netns/{self._layout.network.namespace(node)}"
            self._start(f"slurmd-{node}", "nsenter", into, "/bin/sh", "-ec", self._layout.node_script(node))
        if self._layout.accounting:
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
        run, data = self.folder / "run", self.folder / "db"
        self._start(
            "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={run}/mariadb.sock",
            f"--pid-file={run}/mariadb.pid", "--skip-networking", "--skip-grant-tables",
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


def _rows(text: str) -> dict[str, dict[str, str]]:
    names = ("id", "name", "comment", "state", "user")
    rows = (dict(zip(names, line.replace("(null)", "").split("\x1f"), strict=True)) for line in text.splitlines())
    return {row["id"]: row for row in rows}


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []
