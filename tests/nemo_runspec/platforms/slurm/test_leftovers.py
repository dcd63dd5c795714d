from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.platforms.slurm.leftovers import What, remove_left
from nemo_runspec.platforms.workload import Submitted
from tests.nemo_runspec.platforms.slurm.watching import JOB, Cluster

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_removed(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    (cluster.job / "secrets.sh").touch()
    assert remove_left(cluster, str(cluster.home), JOB, What.NOTHING)
    assert (cluster.job / "secrets.sh").exists()
    assert remove_left(cluster, str(cluster.home), JOB, What.SECRETS)
    assert [path.name for path in sorted(cluster.job.iterdir())] == ["exit", "logs"]
    assert remove_left(cluster, str(cluster.home), JOB, What.ALL)
    assert not cluster.job.exists()
    assert not remove_left(cluster, str(cluster.home), JOB, What.ALL)


@pytest.mark.parametrize("name", ["..", "", "a b", "a/../b"])
def test_nothing_outside_is_removed(tmp_path: Path, name: str) -> None:
    cluster = Cluster(tmp_path)
    with pytest.raises(RefusedError, match="is no name of a job"):
        remove_left(cluster, str(cluster.home), Submitted("slurm", "job", "42", name), What.ALL)
    assert cluster.job.exists()
