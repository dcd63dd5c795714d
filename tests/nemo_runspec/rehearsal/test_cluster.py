from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import NemotronError
from nemo_runspec.rehearsal.cluster import CANNOT_START, Cluster, NameTakenError
from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.workloads import Order, Phase, Timing
from tests.nemo_runspec.rehearsal.plain_pods import PlainRunner, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.nemo_runspec.rehearsal.plain_pods import PlainPod

IGNORES = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")


@pytest.fixture
def runner() -> PlainRunner:
    return PlainRunner()


@pytest.fixture
def cluster(runner: PlainRunner) -> Iterator[Cluster]:
    cluster = Cluster(runner, Timing(grace_s=0.2))
    cluster.start()
    yield cluster
    cluster.close()


def order(folder: Path, *commands: tuple[str, ...], name: str = "work") -> Order:
    pods = tuple(
        PodSpec(f"{name}-{number}", command, (), name, (), (), folder / name / f"{number}.log")
        for number, command in enumerate(commands)
    )
    return Order(id=name, name=name, kind="job", body={}, pods=pods, waiting=("one", "two"), resuming=("again",))


def reach(cluster: Cluster, key: int, phase: Phase) -> None:
    until(lambda: cluster.by_key(key).phase is phase)


def test_all_pods_are_started_by_one_thread_that_outlives_them(
    cluster: Cluster, runner: PlainRunner, tmp_path: Path
) -> None:
    keys = [cluster.create(order(tmp_path, ("true",), ("true",), name=f"w{number}")).key for number in range(3)]
    for key in keys:
        reach(cluster, key, Phase.COMPLETED)
    assert len(runner.pods) == 6
    assert len(runner.threads) == 1
    assert runner.threads <= {thread.ident for thread in threading.enumerate()}
    assert sorted(runner.released) == ["w0", "w1", "w2"]


def test_every_state_is_passed_in_order(cluster: Cluster, tmp_path: Path) -> None:
    key = cluster.create(order(tmp_path, ("true",))).key
    reach(cluster, key, Phase.COMPLETED)
    seen = cluster.by_key(key)
    assert [phase for _, phase in seen.history] == [Phase.WAITING, Phase.RUNNING, Phase.COMPLETED]
    times = [when for when, _ in seen.history]
    assert times == sorted(times)
    assert seen.finished_s == times[-1]


def test_a_pod_that_ignores_sigterm_is_killed_after_the_grace_time(
    cluster: Cluster, runner: PlainRunner, tmp_path: Path
) -> None:
    key = cluster.create(order(tmp_path, IGNORES)).key
    until(lambda: bool(runner.pods) and runner.pods[0].spec.log.read_bytes() == b"deaf\n")
    cluster.stop(key)
    assert cluster.by_key(key).phase is Phase.STOPPING
    reach(cluster, key, Phase.STOPPED)
    assert cluster.by_key(key).pods[0].exit_code == 137


def test_pods_are_asked_to_end_when_another_has_failed_and_that_is_told(
    cluster: Cluster, runner: PlainRunner, tmp_path: Path
) -> None:
    asked = f"trap 'echo asked; exit 3' TERM; touch {tmp_path}/ready; while :; do sleep 0.01; done"
    fails = f"until test -e {tmp_path}/ready; do sleep 0.01; done; exit 7"
    key = cluster.create(order(tmp_path, ("sh", "-c", asked), ("sh", "-c", fails))).key
    reach(cluster, key, Phase.FAILED)
    pods = cluster.by_key(key).pods
    assert [(pod.exit_code, pod.was_stopped) for pod in pods] == [(3, True), (7, False)]
    assert runner.pods[0].spec.log.read_bytes().endswith(b"asked\n")


def test_pods_that_end_with_the_twin_were_stopped(tmp_path: Path) -> None:
    runner = PlainRunner()
    cluster = Cluster(runner, Timing())
    cluster.start()
    key = cluster.create(order(tmp_path, ("sleep", "100"), ("true",))).key
    until(lambda: len(runner.pods) == 2 and cluster.by_key(key).pods[1].exit_code == 0)
    cluster.close()
    assert [pod.was_stopped for pod in cluster.by_key(key).pods] == [True, False]


def test_the_grace_time_of_one_does_not_hold_up_another(tmp_path: Path) -> None:
    runner = PlainRunner()
    cluster = Cluster(runner, Timing(grace_s=1000.0))
    cluster.start()
    key = cluster.create(order(tmp_path, IGNORES, name="deaf")).key
    until(lambda: bool(runner.pods) and runner.pods[0].spec.log.read_bytes() == b"deaf\n")
    cluster.delete(key)
    other = cluster.create(order(tmp_path, ("true",), name="other")).key
    reach(cluster, other, Phase.COMPLETED)
    assert cluster.by_key(key).phase is Phase.DELETING
    assert runner.pods[0].poll() is None
    cluster.close()
    assert runner.pods[0].poll() == 137


def test_a_stopped_workload_runs_again_with_new_pods(cluster: Cluster, runner: PlainRunner, tmp_path: Path) -> None:
    key = cluster.create(order(tmp_path, ("sleep", "100"))).key
    reach(cluster, key, Phase.RUNNING)
    cluster.stop(key)
    cluster.resume(key)
    until(lambda: len(runner.pods) == 2)
    assert [phase for _, phase in cluster.by_key(key).history][1:] == [
        Phase.RUNNING,
        Phase.STOPPING,
        Phase.STOPPED,
        Phase.WAITING,
        Phase.RUNNING,
    ]
    assert cluster.by_key(key).finished_s is None
    assert runner.released == ["work"]


def test_a_preempted_workload_waits_and_runs_again_and_that_is_no_failure(
    cluster: Cluster, runner: PlainRunner, tmp_path: Path
) -> None:
    script = f"echo run; test -e {tmp_path}/go || exec sleep 100"
    key = cluster.create(order(tmp_path, ("sh", "-c", script), ("true",))).key
    until(lambda: len(runner.pods) == 2 and runner.pods[1].poll() == 0)
    (tmp_path / "go").touch()
    cluster.preempt(key)
    reach(cluster, key, Phase.COMPLETED)
    seen = cluster.by_key(key)
    assert [phase for _, phase in seen.history] == [
        Phase.WAITING,
        Phase.RUNNING,
        Phase.RESTARTING,
        Phase.WAITING,
        Phase.RUNNING,
        Phase.COMPLETED,
    ]
    assert [pod.exit_code for pod in seen.pods] == [0, 0]
    assert [pod.log.name for pod in seen.pods] == ["0.1.log", "1.1.log"]
    assert seen.pods[0].log.read_text(encoding="utf-8") == "run\n"
    assert runner.released == ["work", "work"]
    cluster.preempt(key)
    assert cluster.by_key(key).phase is Phase.COMPLETED


def test_a_finished_workload_is_not_stopped_and_can_be_deleted(
    cluster: Cluster, runner: PlainRunner, tmp_path: Path
) -> None:
    key = cluster.create(order(tmp_path, ("true",))).key
    reach(cluster, key, Phase.COMPLETED)
    cluster.stop(key)
    cluster.resume(key)
    assert cluster.by_key(key).phase is Phase.COMPLETED
    cluster.delete(key)
    reach(cluster, key, Phase.DELETED)
    cluster.resume(key)
    cluster.delete(key)
    assert cluster.by_key(key).phase is Phase.DELETED
    assert runner.released == ["work"]


def test_a_name_is_free_again_when_its_workload_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    first = cluster.create(order(tmp_path, ("true",))).key
    with pytest.raises(NameTakenError):
        cluster.create(order(tmp_path, ("true",)))
    elsewhere = dataclasses.replace(order(tmp_path, ("true",)), scope="other")
    assert cluster.create(elsewhere).key != first
    cluster.delete(first)
    reach(cluster, first, Phase.DELETED)
    second = cluster.create(order(tmp_path, ("true",))).key
    found = cluster.find("work")
    assert found is not None
    assert found.key == second


def test_what_cannot_be_started_fails_and_says_why(tmp_path: Path) -> None:
    class Broken(PlainRunner):
        def start(self, spec: PodSpec) -> PlainPod:
            message = f"no sandbox for {spec.name}"
            raise NemotronError(message)

    cluster = Cluster(Broken(), Timing())
    cluster.start()
    key = cluster.create(order(tmp_path, ("true",))).key
    reach(cluster, key, Phase.FAILED)
    (pod,) = cluster.by_key(key).pods
    assert pod.exit_code == CANNOT_START
    assert pod.log.read_text(encoding="utf-8") == "cannot start the container: no sandbox for work-0\n"
    cluster.close()
