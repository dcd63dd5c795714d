from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.rehearsal.cluster import Cluster
from nemo_runspec.rehearsal.logs import PIECE_BYTES, stream_log
from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.workloads import Order, Timing
from tests.nemo_runspec.rehearsal.plain_pods import PlainRunner, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.workloads import WorkloadSeen


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(PlainRunner(), Timing())
    cluster.start()
    yield cluster
    cluster.close()


def started(cluster: Cluster, folder: Path, script: str) -> WorkloadSeen:
    """Run a script, and give its workload as soon as its pod is there."""
    spec = PodSpec("p", ("sh", "-c", script), (), "net", (), (), folder / "p.log")
    order = Order(id="w", name="w", kind="job", body={}, pods=(spec,), waiting=("one",), resuming=("one",))
    key = cluster.create(order).key
    until(lambda: any(pod.is_started for pod in cluster.by_key(key).pods))
    return cluster.by_key(key)


def test_what_is_written_last_is_there_too(cluster: Cluster, tmp_path: Path) -> None:
    seen = started(cluster, tmp_path, f"head -c {2 * PIECE_BYTES} /dev/zero; sleep 0.05; printf 'no newline'")
    text = b"".join(stream_log(cluster, seen, seen.pods[0]))
    assert text == b"\0" * 2 * PIECE_BYTES + b"no newline"


def test_without_following_it_gives_what_is_there(cluster: Cluster, tmp_path: Path) -> None:
    seen = started(cluster, tmp_path, "echo here; exec sleep 100")
    until(lambda: seen.pods[0].log.read_bytes() == b"here\n")
    assert list(stream_log(cluster, seen, seen.pods[0], follow=False)) == [b"here\n"]


def test_a_quiet_log_says_that_there_is_nothing_yet_and_ends_with_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    seen = started(cluster, tmp_path, "exec sleep 100")
    pieces = stream_log(cluster, seen, seen.pods[0])
    assert [next(pieces), next(pieces)] == [b"", b""]
    cluster.close()
    assert list(pieces) == []
