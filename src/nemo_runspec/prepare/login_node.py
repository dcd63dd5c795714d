"""A profile's login node, and the folder there that keeps what its jobs have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import ProfileError
from nemo_runspec.paths import absolute
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.shell.openssh import SshShell

if TYPE_CHECKING:
    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.platforms.shell import Shell

_LOCAL_HOME: Final = "output/slurm"


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


def home_of(profile: SlurmProfile) -> str:
    """Give the folder on the cluster that keeps jobs, images and clones: `remote_job_dir`.

    On a login node it may be left out, and is `output/slurm` below the working directory then.
    """
    if profile.remote_job_dir is not None:
        return profile.remote_job_dir
    return str(Path(_LOCAL_HOME).absolute())


def _file(given: str | None) -> str | None:
    return str(absolute(given, error=ProfileError)) if given is not None else None
