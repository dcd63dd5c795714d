"""What OpenSSH says when it does not get through, as errors that say what to do."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import DeniedError, PlatformError, UnreachableError

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Host

_CHANGED: Final = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|Offending .* key in|host key .* has been revoked")
_OFFENDING: Final = re.compile(r"Offending .* key in (?P<file>.+):\d+")
_UNKNOWN_KEY: Final = re.compile(r"host key is known for|Host key verification failed")
_DENIED: Final = re.compile(r"Permission denied \(|Too many authentication failures|No more authentication methods")
_CONFIGURATION: Final = re.compile(r"Bad (configuration option|owner or permissions)|bad configuration options")
_NAMELESS: Final = re.compile(r"Could not resolve hostname")
_NOISE: Final = re.compile(
    r"^(@+|\*+|\s*|Warning: .*|mux_client.*|ControlSocket .*|Host key verification failed\.)\r?$"
)
_KEYGEN_S: Final = 5.0


def trouble(host: Host, said: str) -> PlatformError:
    """Give the error for what ssh has said before it gave up.

    Args:
        host: Where it should have led.
        said: Its standard error.
    """
    if _CHANGED.search(said):
        return _changed(host, said)
    if _UNKNOWN_KEY.search(said):
        return _unknown(host)
    if _DENIED.search(said):
        return _denied(host, said)
    if _CONFIGURATION.search(said):
        line = next(line.strip() for line in said.splitlines() if _CONFIGURATION.search(line))
        return DeniedError(f"ssh cannot read its configuration: {line}", remedy="Mend it, then try again.")
    line = _line_that_matters(said)
    if _NAMELESS.search(said):
        remedy = f"Check the name '{host.host}' in the profile, and this machine's network."
        return UnreachableError(f"{host.label} cannot be reached: {line}", remedy=remedy)
    return UnreachableError(
        f"{host.label} cannot be reached: {line}",
        remedy=f"Check host and port in the profile; `{_by_hand(host)}` should work without a question.",
    )


def _line_that_matters(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if not _NOISE.match(line)]
    return lines[-1].removeprefix("ssh: ") if lines else "the connection was closed"


def _by_hand(host: Host) -> str:
    words = ["ssh"]
    if host.port is not None:
        words += ["-p", str(host.port)]
    if host.identity is not None:
        words += ["-i", host.identity]
    return shlex.join([*words, f"{host.user}@{host.host}" if host.user else host.host])


def _known_name(host: Host) -> str:
    """Give the name under which a key file lists a host."""
    return host.host if host.port in {None, 22} else f"[{host.host}]:{host.port}"


def _unknown(host: Host) -> PlatformError:
    port = f"-p {host.port} " if host.port is not None else ""
    file = shlex.quote(host.known_hosts) if host.known_hosts else "~/.ssh/known_hosts"
    return DeniedError(
        f"the host key of {host.label} is not known, so that nobody can tell whether it is the right machine",
        remedy=(
            f"Add it with `ssh-keyscan {port}{host.host} >> {file}` after comparing it with the fingerprint that the "
            "cluster's administrators give, or set accept_new_host_keys = true in the profile."
        ),
    )


def _changed(host: Host, said: str) -> PlatformError:
    found = _OFFENDING.search(said)
    file = found["file"] if found else (host.known_hosts or "~/.ssh/known_hosts")
    command = f"ssh-keygen -R {shlex.quote(_known_name(host))} -f {shlex.quote(file)}"
    return DeniedError(
        f"the host key of {host.label} is not the one in {file}: this may be another machine",
        remedy=f"Ask the cluster's administrators; if the key has really changed, remove the old one with `{command}`.",
    )


def _denied(host: Host, said: str) -> PlatformError:
    line = next(line.strip() for line in reversed(said.splitlines()) if _DENIED.search(line))
    user = f"as '{host.user}'" if host.user else "with the user name that ssh takes"
    key = f"the key {host.identity}" if host.identity else "the keys of the agent and of ~/.ssh"
    message = f"{host.label} does not let us in {user} with {key}: {line}"
    if host.identity is not None and _is_locked(Path(host.identity)):
        return DeniedError(
            message,
            remedy=f"The key has a passphrase, which nobody is asked for: run `ssh-add {shlex.quote(host.identity)}`.",
        )
    return DeniedError(message, remedy=f"Check user and identity in the profile; try `{_by_hand(host)}`.")


def _is_locked(identity: Path) -> bool:
    """Tell whether a private key has a passphrase."""
    try:
        tried = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", str(identity)],  # noqa: S607 - the system's own OpenSSH is meant
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_KEYGEN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"incorrect passphrase" in tried.stderr
