from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.slurm.stopping import cancel, remove
from nemo_runspec.platforms.workload import Submitted
from tests.nemo_runspec.platforms.slurm.watching import JOB, NAME, Cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemo_runspec.platforms.scripted import FakeTime

GONE = "slurm_load_jobs error: Invalid job id specified\n"
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster with a job that runs, and ends when it is cancelled."""
    cluster = Cluster(tmp_path)
    cluster.program("scontrol", DOWN, code=1)
    cluster.program("sacct", "Slurm accounting storage is disabled\n", code=1)
    queued(cluster, "RUNNING")
    cluster.program("scancel", then=f"touch {cluster.home}/ended")
    (cluster.job / "secrets.sh").write_text("export TOKEN=x\n")
    return cluster


def queued(cluster: Cluster, state: str, *, reason: str = "None", name: str = NAME) -> None:
    """Let squeue know the job, until it is cancelled."""
    look = f"row|42|$state|{reason}|N/A|{name}"
    cluster.program(
        "squeue",
        then=f"state={state}; [ -e {cluster.home}/ended ] && state=CANCELLED\n"
        f'case "$*" in *%T*) echo "{look}" ;; *) [ $state = CANCELLED ] || echo "row|{name}" ;; esac',
    )


def test_a_job_is_cancelled_and_its_secrets_removed(cluster: Cluster, time: FakeTime) -> None:
    for _ in range(2):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())
        assert cluster.calls("scancel") == [f"--name={NAME} 42"]
        assert not (cluster.job / "secrets.sh").exists()
    assert cluster.job.is_dir()


def test_a_job_that_slurm_does_not_know_is_fine(cluster: Cluster, time: FakeTime) -> None:
    cluster.program("squeue", GONE, code=1)
    cancel(cluster, str(cluster.home), JOB, patience=time.patience())
    assert cluster.calls("scancel") == []


@pytest.mark.parametrize("name", ["other", f"{NAME}-2", f"x{NAME}"])
def test_another_job_with_the_number_is_left_alone(cluster: Cluster, time: FakeTime, name: str) -> None:
    queued(cluster, "RUNNING", name=name)
    with pytest.raises(RefusedError, match="is not 'train-abc123'"):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())
    assert cluster.calls("scancel") == []


def test_a_job_that_does_not_end_is_told(cluster: Cluster, time: FakeTime) -> None:
    cluster.program("scancel")
    with pytest.raises(PlatformError, match="was told to cancel the job 'train-abc123', which is RUNNING"):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())
    assert 50 < sum(time.waits) <= 60
    assert (cluster.job / "secrets.sh").exists()


def test_slurm_that_cannot_be_told_is_told_again(cluster: Cluster, time: FakeTime) -> None:
    cluster.errors = [UnreachableError("no route")] * 3
    cancel(cluster, str(cluster.home), JOB, patience=time.patience())
    assert len(cluster.calls("scancel")) == 1
    cluster.program("squeue", DOWN, code=1)
    with pytest.raises(UnreachableError, match="Unable to contact slurm controller"):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())


def test_an_end_that_cannot_be_seen_is_unreachable(cluster: Cluster, time: FakeTime) -> None:
    cluster.program("squeue", then=f'[ -e {cluster.home}/ended ] && echo "{DOWN.strip()}" && exit 1\necho "row|{NAME}"')
    with pytest.raises(UnreachableError, match="was told to cancel"):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())


def test_slurm_may_forbid_it(cluster: Cluster, time: FakeTime) -> None:
    cluster.program("scancel", "scancel: error: Kill job error on job id 42: Access/permission denied\n", code=1)
    with pytest.raises(DeniedError, match="Access/permission denied"):
        cancel(cluster, str(cluster.home), JOB, patience=time.patience())


def test_a_job_that_ends_by_itself_just_then_is_fine(cluster: Cluster, time: FakeTime) -> None:
    said = "scancel: error: Kill job error on job id 42: Job/step already completing or completed\n"
    cluster.program("scancel", said, code=1, then=f"touch {cluster.home}/ended")
    cancel(cluster, str(cluster.home), JOB, patience=time.patience())


# ---- removing


def test_only_an_ended_job_is_removed(cluster: Cluster, time: FakeTime) -> None:
    with pytest.raises(RefusedError, match="is running"):
        remove(cluster, str(cluster.home), JOB, patience=time.patience())
    cluster.program("squeue", DOWN, code=1)
    with pytest.raises(UnreachableError):
        remove(cluster, str(cluster.home), JOB, patience=time.patience())
    assert cluster.job.is_dir()
    cluster.program("squeue", GONE, code=1)
    other = cluster.job.with_name("other-abc123")
    other.mkdir()
    for _ in range(2):
        remove(cluster, str(cluster.home), JOB, patience=time.patience())
        assert [path.name for path in (cluster.home / "jobs").iterdir()] == [other.name]


def test_a_job_that_never_runs_leaves_the_queue_with_its_folder(cluster: Cluster, time: FakeTime) -> None:
    queued(cluster, "PENDING", reason="DependencyNeverSatisfied")
    remove(cluster, str(cluster.home), JOB, patience=time.patience())
    assert len(cluster.calls("scancel")) == 1
    assert not cluster.job.exists()


def test_links_are_not_followed(cluster: Cluster, time: FakeTime, tmp_path: Path) -> None:
    cluster.program("squeue", GONE, code=1)
    results = tmp_path / "results"
    results.mkdir()
    (results / "model").write_text("weights")
    (cluster.job / "output").symlink_to(results)
    remove(cluster, str(cluster.home), JOB, patience=time.patience())
    assert not cluster.job.exists()
    cluster.job.symlink_to(results)
    with pytest.raises(RefusedError, match="no folder of ours"):
        remove(cluster, str(cluster.home), JOB, patience=time.patience())
    cluster.job.unlink()
    (cluster.home / "jobs").rmdir()
    (results / NAME).mkdir()
    (cluster.home / "jobs").symlink_to(results)
    with pytest.raises(RefusedError, match="no folder of ours"):
        remove(cluster, str(cluster.home), JOB, patience=time.patience())
    assert (results / "model").exists()
    assert (results / NAME).exists()


@pytest.mark.parametrize("name", ["..", "a/b", "", ".", "-rf", "a b", "A"])
def test_a_name_that_is_none_is_refused(cluster: Cluster, name: str) -> None:
    for ask in (remove, cancel):
        with pytest.raises(RefusedError):
            ask(cluster, str(cluster.home), Submitted("slurm", "job", "42", name))
    assert cluster.scripts == []


# ---- jobs that wait for others
