"""Which node this pod is, and where the first one is, worked out from whatever the platform says.

A user's variables may have the names of the platform's, so that what only the platform can know comes first: the
pod's own name, and on Lepton its own variables. `RANK` counts only where the training operator says the same twice.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOPBACK = "127.0.0.1"
LEPTON_PORT = "29400"
"""As in Lepton's own script, lepton_env_to_pytorch.sh (https://github.com/leptonai/scripts)."""

RUNAI_PORT = "23456"
"""The training operator's default (https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/pytorch/)."""

POD_NAME = re.compile(r"(.+)-(worker|master)-(\d+)")


class RendezvousError(Exception):
    """The platform does not say which node this pod is, or there are not enough pods."""


class Place(NamedTuple):
    """Where this pod stands among the job's nodes.

    Args:
        rank: The node's number from 0.
        pods: How many pods there are, as far as the platform says.
        variables: What the command gets; None takes a variable away.
    """

    rank: int
    pods: int
    variables: dict[str, str | None]


def place(environ: Mapping[str, str], nodes: int, hostname: str) -> Place:
    """Work out this pod's place.

    Args:
        environ: The pod's variables.
        nodes: How many nodes the job has. The pod of a job with one is that one, whatever its variables say.
        hostname: The pod's name.

    Raises:
        RendezvousError: There is no telling, or there are fewer pods than nodes.
    """
    named = POD_NAME.fullmatch(hostname)
    if _is_number(environ, "LEPTON_JOB_WORKER_INDEX") and _is_number(environ, "LEPTON_JOB_TOTAL_WORKERS"):
        found = _lepton(environ, nodes)
    elif named and (named[2] == "master" or _leader(environ) == named[1] + "-master-0"):
        found = _with_master(environ, nodes, 0 if named[2] == "master" else int(named[3]) + 1, named[1] + "-master-0")
    elif named:
        found = _workers_only(environ, nodes, int(named[3]), named[1] + "-worker-0")
    elif _operator_numbers(environ):
        found = _with_master(environ, nodes, int(environ["RANK"]), environ["PET_MASTER_ADDR"])
    elif nodes == 1:
        found = Place(0, 1, {})
    else:
        message = (
            f"cannot tell which of {nodes} nodes {hostname} is: there is no LEPTON_JOB_WORKER_INDEX with "
            "LEPTON_JOB_TOTAL_WORKERS, no name that ends with '-worker-N' or '-master-0', and no RANK with the same "
            "PET_NODE_RANK and a PET_MASTER_ADDR"
        )
        raise RendezvousError(message)
    if found.pods < nodes:
        message = f"the job has {nodes} nodes and the platform started {found.pods} pods"
        raise RendezvousError(message)
    rank = found.rank if nodes > 1 else 0
    variables = dict(found.variables, NNODES=str(nodes), NODE_RANK=str(rank))
    if nodes == 1:
        # Pods may share their machine's network, so that a fixed port may be another job's.
        variables.update(MASTER_ADDR=LOOPBACK, MASTER_PORT=environ.get("MASTER_PORT") or free_port())
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
            if "PET_" + name in variables or "PET_" + name in environ:
                variables["PET_" + name] = variables[name]
    return Place(rank, found.pods, variables)


def _lepton(environ: Mapping[str, str], nodes: int) -> Place:
    """Read Lepton's variables; the names are those that its own script exports."""
    prefix, domain = environ.get("LEPTON_JOB_WORKER_PREFIX", "worker"), environ.get("LEPTON_SUBDOMAIN", "")
    hosts = [f"{prefix}-{index}.{domain}" for index in range(nodes)]
    variables = {
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": environ.get("MASTER_PORT") or LEPTON_PORT,
        "WORKER_ADDRS": ",".join(hosts[1:]),
    }
    return Place(int(environ["LEPTON_JOB_WORKER_INDEX"]), int(environ["LEPTON_JOB_TOTAL_WORKERS"]), dict(variables))


def _leader(environ: Mapping[str, str]) -> str:
    return environ.get("PET_MASTER_ADDR", "").partition(".")[0]


def _operator_numbers(environ: Mapping[str, str]) -> bool:
    """Tell whether RANK is the training operator's, which sets the same number and address for torchrun."""
    rank, address = environ.get("PET_NODE_RANK"), environ.get("PET_MASTER_ADDR")
    return _is_number(environ, "RANK") and environ["RANK"] == rank and bool(address)


def _with_master(environ: Mapping[str, str], nodes: int, rank: int, master: str) -> Place:
    """Read what the training operator gives where there is a master, which is node 0; worker 0 is node 1."""
    pods = _number(environ, "PET_NNODES", 0) or _number(environ, "WORLD_SIZE", nodes)
    variables = {
        "MASTER_ADDR": environ.get("PET_MASTER_ADDR") or master,
        "MASTER_PORT": environ.get("PET_MASTER_PORT") or environ.get("MASTER_PORT") or RUNAI_PORT,
        # Without the pods that are not needed.
        "WORLD_SIZE": str(nodes),
    }
    return Place(rank, pods, dict(variables, **_torchrun(variables, nodes, rank)))


def _workers_only(environ: Mapping[str, str], nodes: int, rank: int, first: str) -> Place:
    """Take the node from the pod's name: without a master the training operator numbers nothing.

    torchrun would take part in a rendezvous that hands out numbers as it likes; with a fixed number of nodes it gets
    its own number instead, so that NODE_RANK and torchrun's rank of the group are the same.
    """
    host, _, port = environ.get("PET_RDZV_ENDPOINT", "").rpartition(":")
    variables = {
        "MASTER_ADDR": host or first,
        "MASTER_PORT": port if host else environ.get("MASTER_PORT") or RUNAI_PORT,
    }
    least, _, most = environ.get("PET_NNODES", "").partition(":")
    if most and least != most:
        return Place(rank, nodes, dict(variables))  # elastic, as somebody asked for: torchrun numbers the nodes
    pods = int(most or least) if (most or least).isdigit() else nodes
    added: dict[str, str | None] = dict(variables, **_torchrun(variables, nodes, rank))
    added.update({name: None for name in ("PET_RDZV_ENDPOINT", "PET_RDZV_ID") if name in environ})
    return Place(rank, pods, dict(added, PET_RDZV_BACKEND="static"))


def _torchrun(variables: Mapping[str, str], nodes: int, rank: int) -> dict[str, str]:
    """Give what torchrun reads where its arguments do not say it."""
    return {
        "PET_NNODES": str(nodes),
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": variables["MASTER_ADDR"],
        "PET_MASTER_PORT": variables["MASTER_PORT"],
    }


def _is_number(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "")
    return value.isascii() and value.isdigit()


def _number(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    return int(environ[name]) if _is_number(environ, name) else otherwise


def free_port() -> str:
    """Give a port of the loopback interface that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((LOOPBACK, 0))
        return str(listener.getsockname()[1])
