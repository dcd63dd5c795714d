"""A profile's login node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import ProfileError
from nemo_runspec.paths import absolute
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.shell.openssh import SshShell

if TYPE_CHECKING:
    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.platforms.shell import Shell


def shell_of(profile: SlurmProfile) -> Shell:
    """Give the shell of a profile's login node, which may be this machine; nothing is connected yet.

    Raises:
        ProfileError: The profile names no host for SSH, or a file that cannot be.
    """
    if profile.tunnel != "ssh":
        return LocalShell()
    if profile.host is None:
        message = f"profile '{profile.name}': tunnel = \"ssh\" needs 'host'"
        raise ProfileError(message, where=profile.where("tunnel"))
    host = Host(
        host=profile.host,
        port=profile.port,
        user=profile.user,
        identity=_file(profile.identity),
        known_hosts=_file(profile.known_hosts),
        accept_new=bool(profile.accept_new_host_keys),
    )
    return SshShell(host)


def _file(given: str | None) -> str | None:
    return str(absolute(given, error=ProfileError)) if given is not None else None
