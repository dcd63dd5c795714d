"""How a job's platform is reached, as plain texts that may be kept, and the client that they lead to."""

from __future__ import annotations

import threading
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.credentials import read_secret
from nemo_runspec.platforms.credentials import find_lepton_workspace
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.runai import RunaiClient

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from nemo_runspec.platforms.workload import Platform

_RUNAI: Final = ("base_url", "kube_apiserver_url", "client_id", "project_name")
WORKSPACE_URL: Final = "workspace_url"
"""Where a Lepton job was sent; kept, because the workspace itself is the environment's to choose."""

_LOCK: Final = threading.Lock()
_clients: Final[dict[Hashable, Platform]] = {}


def connection_of(place: Any) -> Mapping[str, str]:  # noqa: ANN401 - an executor of nemo-run, which ships no types
    """Give the connection of an executor of this library; it holds a reference in the place of the client's secret."""
    connection = {"profile": place.profile}
    if hasattr(place, "client_secret"):
        connection |= {name: getattr(place, name) for name in (*_RUNAI, "client_secret")}
    return MappingProxyType(connection)


def connect(platform: str, connection: Mapping[str, str]) -> Platform:
    """Give a platform's client, the same one for the same place and credentials. Nothing is sent yet.

    A client knows its token and what it has just made, which the platform's lists may not show at once; so whoever
    watches a job in the process that has sent it needs the client that has sent it.

    Args:
        platform: `lepton` or `dgxcloud`.
        connection: As the function above gives it, or as a journal's entry has kept it. Lepton's workspace and token
            are taken from the environment, or from what `lep login` has kept.

    Raises:
        NemotronError: The credentials are not there, or lead to another workspace than the job's.
    """
    if platform == "lepton":
        workspace = find_lepton_workspace(connection["profile"])
        sent_to = connection.get(WORKSPACE_URL, workspace.url)
        if sent_to != workspace.url:
            message = f"the job is in the Lepton workspace {sent_to}, and your environment leads to {workspace.url}"
            raise ProfileError(message, remedy="Set LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN to the job's.")
        return _shared(
            (workspace, connection["profile"]), partial(LeptonClient.from_environment, connection["profile"])
        )
    return _shared(tuple(sorted(connection.items())), partial(_runai, connection))


def _shared(key: Hashable, make: Callable[[], Platform]) -> Platform:
    with _LOCK:
        if key not in _clients:
            _clients[key] = make()
        return _clients[key]


def _runai(connection: Mapping[str, str]) -> RunaiClient:
    return RunaiClient(
        connection["base_url"],
        connection["kube_apiserver_url"],
        connection["client_id"],
        partial(read_secret, connection["client_secret"]),
        connection["project_name"],
        connection["profile"],
    )


def kept(connection: Mapping[str, str], client: Platform) -> Mapping[str, str]:
    """Give a connection as a journal keeps it, with where it led."""
    if isinstance(client, LeptonClient):
        return {**connection, WORKSPACE_URL: client.base_url}
    return dict(connection)
