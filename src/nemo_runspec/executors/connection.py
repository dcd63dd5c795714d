"""How a job's platform is reached, as plain texts that may be kept, and the client that they lead to."""

from __future__ import annotations

import os
import socket
import threading
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nemo_runspec.errors import ProfileError, UnreachableError
from nemo_runspec.executors.credentials import read_secret
from nemo_runspec.executors.journal import nemo_run_home
from nemo_runspec.platforms.credentials import find_lepton_workspace
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.lepton_ray import LeptonRayClient
from nemo_runspec.platforms.runai import RunaiClient

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from nemo_runspec.platforms.shell import Host, Shell
    from nemo_runspec.platforms.workload import Platform

WORKSPACE_URL: Final = "workspace_url"
"""Where a Lepton job was sent; kept, because the workspace itself is the environment's to choose."""

ENGINE: Final = "docker_host"
"""The Docker engine that a job was started with; kept, because the environment chooses it."""

MACHINE: Final = "machine"
"""The machine that a job was started on, where it can be asked about from there only."""

CLUSTER: Final = "cluster"
"""The Slurm cluster that a job was submitted to from a machine of it: login nodes of two may share their folders."""

_PLACES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "lepton": (WORKSPACE_URL,),
        "dgxcloud": ("base_url", "project_name"),
        "slurm": ("host", "port", "user", "home", CLUSTER),
        "docker": (ENGINE, MACHINE),
        "local": (MACHINE,),
    }
)
"""Platform -> what of a connection says where a job is; the rest says how to get there."""

_HERE_ONLY: Final = frozenset({"docker", "local"})
_YES: Final = "true"
_LOCK: Final = threading.Lock()
_SHELLS: Final = threading.Lock()
_clients: Final[dict[Hashable, Platform]] = {}


def connect(platform: str, connection: Mapping[str, str]) -> Platform:
    """Give a platform's client, the same one for the same place and credentials. Nothing is sent yet.

    A client knows its token and what it has just made, which the platform's lists may not show at once; so whoever
    watches a job in the process that has sent it needs the client that has sent it.

    Args:
        platform: `lepton`, `dgxcloud`, `slurm`, `docker` or `local`.
        connection: As an executor's `connection` gives it, or as a journal's entry has kept it. Lepton's workspace and
            token are taken from the environment, or from what `lep login` has kept.

    Raises:
        ProfileError: The credentials are not there, or lead to another workspace than the job's.
        UnreachableError: The job can be asked about on another machine only, or on another cluster.
    """
    if platform == "lepton":
        return _lepton(connection)
    machine = connection.get(MACHINE, _machine())
    if platform in _HERE_ONLY and machine != _machine():
        message = f"the job was started on {machine}, and this is {_machine()}"
        raise UnreachableError(message, remedy=f"Give the command on {machine}.")
    if platform == "slurm":
        connection = _on_its_cluster(connection)
    makers: Mapping[str, Callable[[Mapping[str, str]], Platform]]
    makers = {"dgxcloud": _runai, "slurm": _slurm, "docker": _docker, "local": _local}
    # Jobs of this machine lie below nemo-run's home, which is another one where somebody has set it since.
    home = (nemo_run_home(),) if platform == "local" else ()
    return _shared((platform, *home, *sorted(connection.items())), partial(makers[platform], connection))


def _lepton(connection: Mapping[str, str]) -> Platform:
    workspace = find_lepton_workspace(connection["profile"])
    sent_to = connection.get(WORKSPACE_URL, workspace.url)
    if sent_to != workspace.url:
        message = f"the job is in the Lepton workspace {sent_to}, and your environment leads to {workspace.url}"
        raise ProfileError(message, remedy="Set LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN to the job's.")
    return _shared((workspace, connection["profile"]), partial(LeptonRayClient.from_environment, connection["profile"]))


def _shared(key: Hashable, make: Callable[[], Platform]) -> Platform:
    with _LOCK:
        if key not in _clients:
            _clients[key] = make()
        return _clients[key]


def _runai(connection: Mapping[str, str]) -> Platform:
    return RunaiClient(
        connection["base_url"],
        connection["kube_apiserver_url"],
        connection["client_id"],
        partial(read_secret, connection["client_secret"]),
        connection["project_name"],
        connection["profile"],
    )


# These are imported only by whoever has such a job.


def _on_its_cluster(connection: Mapping[str, str]) -> Mapping[str, str]:
    """Give a connection without the name of its cluster, which has to be the one that is reached from here."""
    cluster = connection.get(CLUSTER)
    if cluster is None:
        return connection
    here = _cluster_here()
    if cluster != here:
        message = f"the job is on the Slurm cluster '{cluster}', and Slurm's programs here lead to '{here}'"
        remedy = f"Give the command on a login node of '{cluster}', or with that cluster's SLURM_CONF."
        raise UnreachableError(message, remedy=remedy)
    return {name: value for name, value in connection.items() if name != CLUSTER}


def _cluster_here() -> str:
    return _cluster_of_environment(os.environ.get("SLURM_CONF", ""), os.environ.get("PATH", ""))


@cache
def _cluster_of_environment(configuration: str, path: str) -> str:
    """Ask once for each cluster that the environment may lead to; where there is none, this machine stands for it."""
    from nemo_runspec.platforms.slurm.cluster import cluster_name  # noqa: PLC0415 - see above

    del configuration, path  # the shell takes them from the environment
    return cluster_name(_shell(None)) or _machine()


def _slurm(connection: Mapping[str, str]) -> Platform:
    from nemo_runspec.platforms.slurm.client import SlurmClient  # noqa: PLC0415 - see above

    return SlurmClient(shell_of(connection), connection["home"], nemo_run_home() / "nemo_runspec" / "sources")


def shell_of(connection: Mapping[str, str]) -> Shell:
    """Give the shell of a Slurm cluster's login node: one for each host, whose connection its users share.

    Args:
        connection: As for `connect`.
    """
    if connection.get("tunnel") != "ssh":
        return _shell(None)
    from nemo_runspec.platforms.shell import Host  # noqa: PLC0415 - see above

    host = Host(
        host=connection["host"],
        port=int(connection["port"]) if connection.get("port") else None,
        user=connection.get("user") or None,
        identity=connection.get("identity") or None,
        known_hosts=connection.get("known_hosts") or None,
        accept_new=connection.get("accept_new") == _YES,
    )
    with _SHELLS:  # `cache` alone lets two threads make one each
        return _shell(host)


@cache
def _shell(host: Host | None) -> Shell:
    from nemo_runspec.platforms.shell.local import LocalShell  # noqa: PLC0415 - see above
    from nemo_runspec.platforms.shell.openssh import SshShell  # noqa: PLC0415 - see above

    return SshShell(host) if host is not None else LocalShell()


def _docker(connection: Mapping[str, str]) -> Platform:
    from nemo_runspec.platforms.docker.client import DockerClient  # noqa: PLC0415 - see above

    return DockerClient(connection.get(ENGINE, ""))


def _local(connection: Mapping[str, str]) -> Platform:
    from nemo_runspec.platforms.local import LocalClient  # noqa: PLC0415 - see above

    del connection  # this machine is reached without one
    return LocalClient(nemo_run_home() / "nemo_runspec" / "local")


def _machine() -> str:
    return socket.gethostname()


def kept(platform: str, connection: Mapping[str, str], client: Platform) -> Mapping[str, str]:
    """Give a connection as a journal keeps it, with where it led.

    Args:
        platform: As for `connect`.
        connection: As for `connect`.
        client: The client that it led to.

    Raises:
        UnreachableError: Slurm does not tell which cluster it is.
    """
    if isinstance(client, LeptonClient):
        return {**connection, WORKSPACE_URL: client.base_url}
    if platform == "docker":
        connection = {ENGINE: str(getattr(client, "address", "")), **connection}
    if platform == "slurm" and connection.get("tunnel") == "local":
        return {CLUSTER: _cluster_here(), **connection}
    if platform in _HERE_ONLY:
        return {MACHINE: _machine(), **connection}
    return dict(connection)


def place_of(platform: str, connection: Mapping[str, str]) -> Mapping[str, str]:
    """Give what of a connection says where a job is: the same for everyone who is led to the same place.

    Args:
        platform: As for `connect`.
        connection: As a journal keeps it.
    """
    return {name: connection.get(name, "") for name in _PLACES.get(platform, tuple(connection))}


def cluster_of(platform: str, connection: Mapping[str, str]) -> str:
    """Give a short name of the place where a job is, which tells it from the same identifier elsewhere.

    Args:
        platform: As for `connect`.
        connection: As a journal keeps it.
    """
    if platform == "lepton":
        return connection.get(WORKSPACE_URL, "").rstrip("/").rpartition("/")[2]
    if platform == "dgxcloud":
        return f"{urlsplit(connection.get('base_url', '')).hostname or ''}/{connection.get('project_name', '')}"
    if platform == "slurm":
        return connection.get("host") or connection.get(CLUSTER) or "localhost"
    return connection.get(MACHINE, "")
