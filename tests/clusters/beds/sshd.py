"""A private sshd on loopback, with keys of its own, that lets two accounts in and counts who came."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.beds import reaper
from tests.clusters.beds.ports import free_port
from tests.clusters.beds.processes import Daemon, Keeper, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"
PROGRAMS = ("sshd", "ssh", "ssh-keygen")

_READY_S = 20.0

# SHLVL: bash reads ~/.bashrc for commands that come through ssh, unless it takes itself for an inner shell; what is
# there could put other programs before the bed's.
_CONFIG = """\
ListenAddress {host}:{port}
HostKey {folder}/{host_key}
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
AllowUsers {users}
Subsystem sftp internal-sftp
MaxSessions 50
MaxStartups 100
UseDNS no
LogLevel VERBOSE
SetEnv SHLVL=1 LANG=C.UTF-8 {environment}
"""


class SshError(Exception):
    """The bed did not come up, or did not go away."""


@dataclass
class SshBed:
    """An sshd of one's own. Made by `start`.

    Attributes:
        folder: Everything of it.
        port: Where it listens, on HOST.
        user: The account that a client should name.
        identity: A private key that opens the account.
        stranger: A private key that opens nothing.
        known_hosts: What a client needs to know the host.
        known_hosts_after_change: The same after `change_host_key`.
    """

    folder: Path
    port: int
    user: str
    _keeper: Keeper
    _users: tuple[str, ...]
    _environment: Mapping[str, str]
    host: str = HOST
    _daemon: list[Daemon] = field(default_factory=list)

    @classmethod
    def start(cls, user: str, environment: Mapping[str, str], folder: Path | None = None) -> SshBed:
        """Start one, and wait until it answers.

        Args:
            user: The account that a client should name; root may come in too.
            environment: What commands that come through it get, such as a Slurm bed's own.
            folder: A folder that does not exist yet; without it, a new one in /tmp.

        Raises:
            SshError: It did not come up.
        """
        keeper = Keeper()
        try:
            folder = folder or Path(tempfile.mkdtemp(prefix="nemotron-ssh-"))
            keeper.undo("folder", str(folder))
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
            bed = cls(folder, free_port(), user, keeper, tuple(dict.fromkeys((user, "root"))), environment)
            bed._make_keys()
            Path("/run/sshd").mkdir(exist_ok=True)
            bed._configure("host_key")
            bed.start_server()
        except (OSError, subprocess.SubprocessError, TimeoutError) as error:
            message = "\n".join([f"the sshd bed did not come up: {error}", *keeper.stop()])
            raise SshError(message) from error
        return bed

    @property
    def identity(self) -> Path:
        return self.folder / "identity"

    @property
    def stranger(self) -> Path:
        return self.folder / "stranger"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def known_hosts_after_change(self) -> Path:
        return self.folder / "known_hosts_after_change"

    @property
    def host_key(self) -> str:
        """The public host key that the server has at first, as type and key."""
        return self._public("host_key")

    def command(self, *argv: str, user: str | None = None) -> list[str]:
        """Give the ssh command that runs words on the server; they are joined by spaces there, as ssh does."""
        options = [
            "-F", "/dev/null", "-p", str(self.port), "-i", str(self.identity), "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
        ]  # fmt: skip
        return ["ssh", *options, f"{user or self.user}@{self.host}", *argv]

    def connections(self) -> int:
        """Count the connections so far, whatever became of them."""
        return self._count("Connection from ")

    def authentications(self) -> int:
        """Count the log-ins so far."""
        return self._count("Accepted publickey for ")

    def sessions(self) -> list[int]:
        """Give the processes that serve connections now."""
        return [pid for pid in _below(self._daemon[-1].pid) if _is_sshd(pid)]

    def drop_connections(self) -> None:
        """Cut every connection that is open, as a failing network does; the server goes on."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.sessions(), _READY_S, "end of the connections")

    def stop_server(self) -> None:
        """Take the server away with its connections; its port refuses."""
        self.drop_connections()
        self._daemon[-1].stop()

    def start_server(self) -> None:
        """Bring the server back, at the same port."""
        log = self.folder / "sshd.log"
        argv = ("/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config"))
        seen = self._count("Server listening on ")
        self._daemon.append(self._keeper.start("sshd", argv, log=log, environment={}))
        self._daemon[-1].wait_ready(lambda: self._count("Server listening on ") > seen, _READY_S)

    def change_host_key(self) -> None:
        """Become another host at the same address, until `restore_host_key`."""
        self._restart_with("host_key_2")

    def restore_host_key(self) -> None:
        self._restart_with("host_key")

    def stop(self) -> None:
        """End everything of it.

        Raises:
            SshError: Something is left.
        """
        if self._daemon[-1].running():
            self.drop_connections()
        complaints = self._keeper.stop()
        if complaints:
            raise SshError("\n".join(complaints))

    def _restart_with(self, host_key: str) -> None:
        self.stop_server()
        self._configure(host_key)
        self.start_server()

    def _configure(self, host_key: str) -> None:
        # PATH and SLURM_CONF hold no spaces: the values are not quoted.
        words = " ".join(f"{name}={value}" for name, value in self._environment.items())
        text = _CONFIG.format(
            host=self.host, port=self.port, folder=self.folder, host_key=host_key, users=" ".join(self._users),
            environment=words,
        )  # fmt: skip
        (self.folder / "sshd_config").write_text(text, encoding="utf-8")

    def _make_keys(self) -> None:
        for name in ("host_key", "host_key_2", "identity", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
        authorized = self.folder / "authorized"
        authorized.write_text(f"{self._public('identity')}\n", encoding="ascii")
        for file, key in ((self.known_hosts, "host_key"), (self.known_hosts_after_change, "host_key_2")):
            file.write_text(f"[{self.host}]:{self.port} {self._public(key)}\n", encoding="ascii")

    def _public(self, name: str) -> str:
        return " ".join((self.folder / f"{name}.pub").read_text(encoding="ascii").split()[:2])

    def _count(self, words: str) -> int:
        log = self.folder / "sshd.log"
        return sum(words in line for line in log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(entry.name)] = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return found


def _below(pid: int) -> list[int]:
    parents = _parents()
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return [child for child in found[1:] if reaper.started(child) is not None]


def _is_sshd(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").startswith("sshd")
    return False
