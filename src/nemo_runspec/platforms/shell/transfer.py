"""Folders through rsync: how it is called, and what its end means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PlatformError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.platforms.shell.running import Ended

LOCK_WAIT_S: Final = 300
"""How long to wait for another transfer into the same folder, in seconds."""

BUSY: Final = 75
"""What `flock` ends with when it has waited in vain; rsync has no such code."""

LOCK: Final = ".transfer.lock"
"""File beside a target whose lock a transfer holds: two into one folder would remove each other's files."""

_SENT: Final = re.compile(rb"^Total bytes sent: ([\d,.]+)$", re.MULTILINE)
_FULL: Final = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_MISSING: Final = re.compile(r"rsync: (command )?not found|rsync.*: No such file or directory \(2\)\Z", re.MULTILINE)
_UNCLEAN: Final = re.compile(r"is your shell clean|protocol version mismatch")
_LINE: Final = re.compile(r"^(rsync(: |\[)|rsync error|ssh: |bash: |flock: ).*", re.MULTILINE)
_LOST: Final = frozenset({10, 12, 20, 30, 35, 255})
_NO_SPACE_HINT: Final = 11


def arguments(source: Path, target: str, basis: str | None) -> list[str]:
    """Give rsync's arguments, without how the other machine is reached.

    No times and no owners: files are compared by content.

    Args:
        source: The folder here.
        target: The folder there, with the machine in front.
        basis: A folder there whose equal files are linked.
    """
    options = ["-rlp", "--checksum", "--partial", "--delete", "-z", "-s", "--stats", "--no-human-readable"]
    linked = [f"--link-dest={basis}"] if basis is not None else []
    return [*options, *linked, "--", f"{source.absolute()}/", f"{target.rstrip('/')}/"]


def sent_bytes(ended: Ended, label: str, target: str) -> int:
    """Give how many bytes were sent.

    Args:
        ended: rsync's end.
        label: The machine, for messages.
        target: The folder there.

    Raises:
        RefusedError: It cannot be written there.
        UnreachableError: The connection was lost.
    """
    if ended.code == 0:
        found = _SENT.search(ended.out)
        return int(re.sub(rb"[,.]", b"", found[1])) if found else 0
    raise _failure(ended, label, target)


def _failure(ended: Ended, label: str, target: str) -> PlatformError:
    said = ended.err.decode(errors="replace")
    if _FULL.search(said) or ended.code == _NO_SPACE_HINT:
        line = next((line for line in said.splitlines() if _FULL.search(line)), "") or first_line(said)
        return RefusedError(
            f"{target} on {label} cannot be written: {line}", remedy="Make room there, then submit again."
        )
    if _MISSING.search(said):
        return RefusedError(f"there is no rsync on {label}", remedy="Ask for rsync 3 there.")
    if _UNCLEAN.search(said):
        return RefusedError(
            f"the login shell of {label} prints something before rsync's answer",
            remedy=f"Let it print nothing for commands: `ssh {label} true` should be silent.",
        )
    if ended.code == BUSY:
        message = f"another transfer into the folder of {target} on {label} has not ended within {LOCK_WAIT_S} s"
        return UnreachableError(message, remedy="Try again when it has.")
    message = f"the transfer to {target} on {label} ended with rsync's code {ended.code}: {first_line(said)}"
    if ended.code in _LOST or ended.code < 0:
        return UnreachableError(message, remedy="Nothing is lost: what was sent is not sent again.")
    return RefusedError(message, remedy="Check the folder's permissions there.")


def first_line(said: str) -> str:
    """Give the line in which rsync says why."""
    found = _LINE.search(said)
    return found[0] if found else said.strip().partition("\n")[0] or "no reason given"
