"""What OpenSSH is told, in a private configuration file, so that rsync and every call are told the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import DeniedError, RefusedError

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Host

CONNECT_S: Final = 8
"""How long a connection may take, handshake and all, in seconds."""

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\"\\]|\$\{")
_MOST_PORTS: Final = 65_535

_ALWAYS: Final = f"""\
  BatchMode yes
  ClearAllForwardings yes
  ConnectTimeout {CONNECT_S}
  ForwardAgent no
  ForwardX11 no
  LogLevel ERROR
  NoHostAuthenticationForLocalhost no
  NumberOfPasswordPrompts 0
  PermitLocalCommand no
  RemoteCommand none
  RequestTTY no
  ServerAliveCountMax 3
  ServerAliveInterval 5
  UpdateHostKeys no
  VisualHostKey no
"""


def ssh_config(host: Host) -> str:
    """Write the configuration: what must be, for the host and for those on the way to it, then the user's own.

    OpenSSH takes the first value that it reads for anything.

    Args:
        host: The machine.

    Raises:
        RefusedError: A value cannot be written there, or would be read as something else.
        DeniedError: A file that is named is not there.
    """
    _check(host)
    own = ["  ControlMaster no", "  ControlPersist no"]
    if host.port is not None:
        own.append(f"  Port {host.port}")
    if host.user is not None:
        own.append(f"  User {host.user}")
    if host.identity is not None:
        own += [f"  IdentityFile {_quoted(_file(host.identity, 'identity'))}", "  IdentitiesOnly yes"]
    checking = "accept-new" if host.accept_new else "yes"
    return (
        f"Host {host.host}\n" + "\n".join(own) + "\n"
        f"Host *\n{_ALWAYS}  StrictHostKeyChecking {checking}\n{_known_hosts(host)}"
        'Include "~/.ssh/config"\nInclude "/etc/ssh/ssh_config"\n'
    )


def _known_hosts(host: Host) -> str:
    """Name the files with host keys; unless the profile names one, that is left to the user's own configuration.

    Where new keys are accepted it is not: kept in a file such as /dev/null, every key would be a new one each time.
    """
    files = ['"~/.ssh/known_hosts"', '"~/.ssh/known_hosts2"']
    if host.known_hosts is not None:
        path = Path(host.known_hosts).expanduser() if host.accept_new else _file(host.known_hosts, "known_hosts")
        files.insert(0, _quoted(path))
    elif not host.accept_new:
        return ""
    return f"  UserKnownHostsFile {' '.join(files)}\n"


def _check(host: Host) -> None:
    if not _HOST.fullmatch(host.host):
        message = f"'{host.host}' cannot be the name of a host"
        raise RefusedError(message, remedy="Write letters, digits, '.', '-', '_' and ':', with no '-' in front.")
    if host.user is not None and not _USER.fullmatch(host.user):
        message = f"'{host.user}' cannot be the name of a user of {host.host}"
        raise RefusedError(message, remedy="Write letters, digits, '.', '-', '_', '@' and '+', with no '-' in front.")
    if host.port is not None and not 0 < host.port <= _MOST_PORTS:
        message = f"{host.port} cannot be a port of {host.host}"
        raise RefusedError(message, remedy=f"Write a number from 1 to {_MOST_PORTS}.")


def _file(given: str, what: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_file():
        message = f"there is no file '{given}', which the profile names as {what}"
        raise DeniedError(message, remedy="Mend the path, or leave it out for OpenSSH's own choice.")
    return path


def _quoted(path: Path) -> str:
    """Write a path so that OpenSSH reads it as it is."""
    text = str(path.absolute())
    if _UNSAFE.search(text):
        message = f"ssh cannot be given the path {text!r}"
        raise RefusedError(message, remedy="Use one without quotes, backslashes, '${' and control characters.")
    return f'"{text.replace("%", "%%")}"'
