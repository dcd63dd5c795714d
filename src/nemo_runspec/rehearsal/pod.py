"""What a twin asks of the machine: pods, as values, and whoever runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A folder of this machine that a pod sees.

    Args:
        source: The folder; it exists.
        target: Absolute path in the pod.
        read_only: Whether the pod cannot write to it.
    """

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class PodSpec:
    """One container, ready to be started.

    Args:
        name: The pod's name, which is its HOSTNAME.
        argv: The command, executed word for word; no shell is added.
        env: The whole environment in order, expanded; a later entry of the same name wins.
        network: Pods of one network (one job) share a loopback interface that nobody else is on.
        hosts: More host names of the job, all of which are this loopback address.
        mounts: Its volumes.
        log: The file that takes its output, standard output and error together.
    """

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    network: str
    hosts: tuple[str, ...]
    mounts: tuple[VolumeMount, ...]
    log: Path


class Pod(Protocol):
    """A started pod."""

    @property
    def spec(self) -> PodSpec:
        """What it was started from."""

    def poll(self) -> int | None:
        """Give its exit code, 128 and the signal's number for a signal, or None while it runs."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end and give its exit code; None when the time is over."""

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL to everything in it after the grace time; returns when it has ended."""


class PodRunner(Protocol):
    """Runs pods on this machine."""

    def start(self, spec: PodSpec) -> Pod:
        """Start a pod. A command that the kernel refuses is a pod that ends with 126 or 127 and says so in its log."""

    def release(self, network: str) -> None:
        """Forget a network, all of whose pods have ended."""

    def connection(self, network: str, port: int) -> socket.socket:
        """Connect to a port of the loopback interface that the pods of a network share.

        Raises:
            OSError: Nobody listens there, or the network is gone.
        """

    def listener(self, network: str, port: int) -> socket.socket | None:
        """Listen on a port of that interface; None where the pods are on this machine's own.

        Raises:
            OSError: Somebody listens there, or the network is gone.
        """

    def close(self) -> None:
        """End every pod, and leave no process behind."""
