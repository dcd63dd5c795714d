from __future__ import annotations

import pytest

from nemo_runspec.platforms.ray_cluster import Cluster, cluster_of


def test_a_cluster_is_read() -> None:
    row = {
        "metadata": {"id": "team", "created_at": 5000},
        "spec": {"ray_version": "2.49.2", "suspend": True, "worker_group_specs": [{"min_replicas": 3}, "odd"]},
        "status": {"state": "Stopped", "readyWorkerReplicas": 2},
    }
    assert cluster_of(row) == Cluster(
        "team", "Stopped", suspended=True, ready=2, wanted=3, created_s=5.0, ray_version="2.49.2"
    )


@pytest.mark.parametrize("found", [None, [], {}, {"metadata": None, "status": None, "spec": {}}])
def test_what_is_not_said_is_not_known(found: object) -> None:
    assert cluster_of(found, "team") == Cluster("team", "")
