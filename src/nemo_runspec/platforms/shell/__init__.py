"""Running scripts on another machine, or on this one in the same way: how a platform without an HTTP API is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine that is reached through SSH.

    Args:
        host: Its name or address, or a name of `~/.ssh/config`.
        port: Its SSH port; OpenSSH's own choice when None.
        user: The user there; OpenSSH's own choice when None.
        identity: File of the private key; OpenSSH's own choice when None.
        known_hosts: A file of host keys that are trusted, beside the system's and the user's.
        accept_new: Trust the key of a host that is met for the first time, and remember it.
    """

    host: str
    port: int | None = None
    user: str | None = None
    identity: str | None = None
    known_hosts: str | None = None
    accept_new: bool = False

    @property
    def label(self) -> str:
        """Name it for messages: `user@host:port`, as far as they are given."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script has answered.

    Args:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error, as text.
    """

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """The output as text; bytes that are no UTF-8 are replaced."""
        return self.out.decode(errors="replace")


class Shell(Protocol):
    """Runs bash scripts somewhere. Nothing ever asks for a password, and every call has a deadline.

    Every method raises `UnreachableError` where the machine cannot be reached or does not answer in time (what a script
    has done by then is not known), and `DeniedError` where it does not let us in or is not who it should be.
    """

    @property
    def label(self) -> str:
        """Name the machine for messages."""

    def bash(
        self,
        script: Path,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        on_error_line: Callable[[str], None] | None = None,
    ) -> Answer:
        """Run a script file of this package there.

        Args:
            script: The file here; its text is sent, and nothing of it stays there.
            *arguments: Its `$1`, `$2`, ... exactly as they are.
            stdin: What it reads.
            timeout_s: How long it may take, in seconds.
            on_error_line: Called with each line of its standard error as it comes.
        """

    def send_tree(self, source: Path, target: str, *, basis: str | None = None, timeout_s: float = 600.0) -> int:
        """Make a folder there equal to one here, sending only what differs; files are compared by content.

        Called again after an interruption, it goes on with what is there; so a submission that is given up ends it.

        Args:
            source: The folder here.
            target: The folder there; its parent exists.
            basis: A folder there whose equal files are linked instead of sent.
            timeout_s: How long it may take, in seconds.

        Returns:
            How many bytes were sent.

        Raises:
            RefusedError: It cannot be written there, such as on a full disk.
        """

    def close(self) -> None:
        """End the connection; later calls open another one."""
