"""Pods' logs as a platform streams them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.rehearsal.workloads import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.rehearsal.cluster import Cluster
    from nemo_runspec.rehearsal.workloads import PodSeen, WorkloadSeen

PIECE_BYTES: Final = 64 * 1024
_POLL_S: Final = 0.02


def stream_log(cluster: Cluster, workload: WorkloadSeen, pod: PodSeen, *, follow: bool = True) -> Iterator[bytes]:
    """Give a pod's output in pieces, until its run has ended; an empty piece says that there is nothing yet.

    Args:
        cluster: Runs the pod.
        workload: The pod's workload.
        pod: One of its pods, which has been started.
        follow: Whether to wait for more.
    """
    with pod.log.open("rb") as file:
        while True:
            # Asked before the file is read: what the pod wrote last is there then.
            has_ended = not follow or _has_ended(cluster, workload, pod)
            while piece := file.read(PIECE_BYTES):
                yield piece
            if has_ended:
                return
            yield b""
            cluster.wait_for_change(_POLL_S)


def timed_lines(workload: WorkloadSeen, pod: PodSeen) -> Iterator[tuple[int, str]]:
    """Yield what a pod has written so far by line, each with the Unix time in nanoseconds that stands for its own.

    When a line was written is not kept: the first has the time at which the workload began to run, and each other one a
    nanosecond more than the one before it.

    Args:
        workload: The pod's workload.
        pod: One of its pods, which has been started.
    """
    began = max((when for when, phase in workload.history if phase is Phase.RUNNING), default=workload.created_s)
    text = pod.log.read_bytes().decode(errors="replace")
    yield from enumerate(text.splitlines(), int(began * 1e9))


def _has_ended(cluster: Cluster, workload: WorkloadSeen, pod: PodSeen) -> bool:
    """Tell whether this run of the pod, which may have been started again since, is over."""
    if cluster.is_closing:
        return True
    pods = cluster.by_key(workload.key).pods
    now = next((candidate for candidate in pods if candidate.name == pod.name), None)
    return now is None or now.log != pod.log or now.exit_code is not None
