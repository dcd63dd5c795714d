"""States, logs and cancelling of jobs on a real Slurm, with what may go wrong while a job runs."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.executors.follow import Follower
from nemo_runspec.platforms.names import new_token
from nemo_runspec.platforms.slurm import status
from nemo_runspec.platforms.slurm.client import SlurmClient
from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask
from nemo_runspec.platforms.slurm.request import request
from nemo_runspec.platforms.workload import Cause, JobState, Seen, Submitted
from tests.clusters.beds import slurm as slurm_bed
from tests.clusters.beds.processes import wait_until
from tests.clusters.beds.sshd import SshBed
from tests.clusters.conftest import require_beds
from tests.clusters.watched import Following, Place, logged_in, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters.beds.slurm import SlurmBed

RUNNING, QUEUED, LOST = JobState.RUNNING, JobState.QUEUED, JobState.LOST
SUCCEEDED, FAILED, CANCELLED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED


@pytest.fixture
def place(slurm: SlurmBed, sshd: SshBed) -> Iterator[Place]:
    with logged_in(slurm, sshd, slurm.work / "jobs of mine") as place:
        yield place


@pytest.fixture
def sure_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is late where accounting has never heard of a job."""
    monkeypatch.setattr(status, "_SURE_AFTER_S", 0.0)


def changes(seen: list[Seen]) -> list[tuple[JobState, int]]:
    return [state for state, _ in itertools.groupby((one.state, one.attempt) for one in seen)]


def test_a_job_from_waiting_to_its_own_exit_code(place: Place) -> None:
    job = place.submit("sleep 1; exit 3", "--begin=now+2")
    assert "BeginTime" in place.look(job).word
    seen = place.until(job)
    assert [state for state, _ in changes(seen) if state is not JobState.STOPPING] == [QUEUED, RUNNING, FAILED]
    assert seen[-1] == Seen(FAILED, "FAILED", exit_code=3)
    place.cancel(job)
    assert place.look(job) == seen[-1], "cancelling a job that has ended changes nothing"


def test_a_job_that_a_signal_ends(place: Place) -> None:
    job = place.submit("kill -9 $$")
    assert place.until(job)[-1] == Seen(FAILED, "FAILED", exit_code=137)


def test_a_job_that_cannot_be_started(place: Place) -> None:
    """Its script's output has no place."""
    job = place.submit("true", "--output=/nowhere/log")
    assert place.until(job)[-1].cause is Cause.LAUNCH


def test_cancelling_and_removing(place: Place) -> None:
    job = place.submit("echo begun; sleep 300", "-N2")
    place.until(job, RUNNING)
    with pytest.raises(RefusedError, match="is running"):
        place.remove(job)
    place.cancel(job)
    assert place.look(job).state is CANCELLED
    assert not (place.folder(job) / "secrets.sh").exists()
    place.cancel(job)
    place.remove(job)
    assert not place.folder(job).exists()
    place.remove(job)
    assert place.look(job).state is CANCELLED, "Slurm knows it still"


@pytest.mark.usefixtures("sure_at_once")
def test_cancelling_while_it_waits_and_when_it_is_unknown(place: Place) -> None:
    job = place.submit("true", "--begin=now+1hour")
    place.cancel(job)
    assert place.look(job).state is CANCELLED
    place.cancel(Submitted("slurm", "job", "999999", job.name))


@pytest.mark.usefixtures("sure_at_once")
def test_another_jobs_number(place: Place) -> None:
    """A controller that has lost its records counts from 1 again."""
    other = place.submit("sleep 300")
    ours = Submitted("slurm", "job", other.id, "ours-abc123")
    with pytest.raises(RefusedError, match="is not 'ours-abc123'"):
        place.cancel(ours)
    assert place.look(ours).state is LOST
    assert place.look(other).state in {QUEUED, JobState.STARTING, RUNNING}
    place.cancel(other)


def test_row_28_cancel_races_completion(place: Place) -> None:
    for _ in range(4):
        job = place.submit("true")
        place.cancel(job)
        seen = place.look(job)
        record = place.bed.wait_for(job.id)
        assert (seen.state, record) in {(SUCCEEDED, "COMPLETED"), (CANCELLED, "CANCELLED")}


def test_logs_of_two_nodes_come_whole_and_in_order(place: Place) -> None:
    lines = 20_000
    body = f"for i in $(seq {lines}); do echo $SLURM_PROCID says $i; done; printf 'no end, and \\xff'"
    job = place.submit(body, "-N2", "--ntasks-per-node=2")
    logs = place.logs(job)
    following = Following(logs, job, "0", "1", "2", "3")
    for task, text in following.to_end().items():
        assert text == [*(f"{task} says {line}" for line in range(1, lines + 1)), "no end, and \ufffd"]
    assert logs.pods() == tuple(f"{job.name}-{task}" for task in range(4))
    place.remove(job)


def test_who_waits_for_a_failed_job(place: Place) -> None:
    first = place.submit("sleep 3; exit 1")
    second = place.submit("true", f"--dependency=afterok:{first.id}")
    third = place.submit("true", f"--dependency=afterok:{second.id}")
    other = place.submit("true", "--begin=now+1hour")
    assert place.look(second).word == "PENDING (Dependency)"
    seen = place.until(second)[-1]
    assert (seen.state, seen.cause) == (FAILED, Cause.NEVER)
    place.cancel(second)
    place.cancel(third)
    assert place.look(other).state is QUEUED
    place.cancel(other)
    assert place.bed.run("squeue", "-h", "-t", "PENDING").stdout == ""
    assert (place.look(second).state, place.look(second).cause) == (FAILED, Cause.NEVER)


@pytest.mark.slow
def test_row_10_a_requeued_job_has_two_attempts(place: Place) -> None:
    """It waits for some time before it starts again."""
    job = place.submit('echo "this is ${SLURM_RESTART_COUNT:-0}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 300')
    following = Following(place.logs(job), job, "0", "batch")
    place.until(job, RUNNING)
    wait_until(lambda: bool(following.lines["0"]), 20, "its first line")
    place.bed.run("scontrol", "requeue", job.id)
    seen = place.until(job, seconds=90)
    assert (QUEUED, 1) in changes(seen)
    assert (seen[-1].state, seen[-1].attempt) == (SUCCEEDED, 1)
    assert not any(one.state.is_final for one in seen[:-1])
    told = following.to_end()
    assert [line for line in told["0"] if "srun" not in line and "slurmstepd" not in line] == [
        "this is 0",
        "[attempt 1 begins]",
        "this is 1",
    ]
    assert any("REQUEUE" in line for line in itertools.chain(*told.values())), told


@pytest.mark.slow
def test_row_10_a_preempted_job_starts_again(place: Place) -> None:
    job = place.submit('[ -n "$SLURM_RESTART_COUNT" ] || sleep 300', "-ppreemptible", "-N2", "--exclusive")
    place.until(job, RUNNING)
    urgent = place.submit("sleep 1", "-purgent", "-N2", "--exclusive")
    seen = place.until(job, seconds=120)
    assert (seen[-1].state, seen[-1].attempt) == (SUCCEEDED, 1)
    assert not any(one.state.is_final for one in seen[:-1])
    assert place.until(urgent)[-1].state is SUCCEEDED


@pytest.mark.slow
def test_row_9_a_lost_node(place: Place) -> None:
    """What ran there goes on to its end, and that end does not count: Slurm starts the job again."""
    marks = place.home / "again"
    body = f'echo here; [ -e "{marks}" ] || sleep 12; [ -n "$SLURM_RESTART_COUNT" ] && exit 4; exit 0'
    job = place.submit(body, "-wn2")
    place.begun(job)
    place.bed.lose_node("n2")
    try:
        wait_until((place.folder(job) / "exit/job.0").exists, 60, "the end of the first attempt")
        seen = place.until(job, QUEUED, seconds=90)
        assert not any(one.state.is_final for one in seen)
        assert seen[-1].attempt == 1
    finally:
        place.bed.return_node("n2")
    seen = place.until(job, seconds=90)
    assert (seen[-1].state, seen[-1].exit_code, seen[-1].attempt) == (FAILED, 4, 1)


@pytest.mark.slow
def test_a_time_limit(place: Place) -> None:
    """The shortest one is a minute."""
    job = place.submit("trap 'exit 0' TERM; sleep 300 & wait", "--time=1")
    seen = place.until(job, seconds=180)[-1]
    assert (seen.state, seen.cause, seen.word) == (FAILED, Cause.TIMEOUT, "TIMEOUT")


def test_row_8_accounting_down(place: Place) -> None:
    job = place.submit("sleep 2; exit 3")
    place.bed.stop_accounting()
    try:
        seen = place.until(job)
        assert seen[-1] == Seen(FAILED, "FAILED", exit_code=3)
        another = place.submit("sleep 300")
        place.until(another, RUNNING)
        place.cancel(another)
        assert place.look(another).state is CANCELLED
    finally:
        place.bed.start_accounting()
    assert place.look(job).exit_code == 3


@pytest.mark.slow
def test_row_7_a_frozen_controller(place: Place) -> None:
    """While it runs accounting tells; once it has ended its file does; a job of which nothing is known did not fail."""
    job = place.submit("echo here; sleep 15; exit 3")
    place.begun(job)
    place.bed.freeze_controller()
    try:
        assert place.look(job).state in {RUNNING, JobState.UNKNOWN, JobState.UNREACHABLE}
        wait_until((place.folder(job) / "exit/job.0").exists, 30, "its exit file")
        assert place.look(job) == Seen(FAILED, "exit code 3", exit_code=3)
    finally:
        place.bed.thaw_controller()
    assert place.until(job)[-1].exit_code == 3


@pytest.mark.slow
def test_row_7_a_stopped_controller(place: Place) -> None:
    # Longer than both take to stop on a busy machine: its end would be known from its own word.
    job = place.submit("echo here; sleep 15; exit 0")
    place.begun(job)
    place.bed.stop_controller()
    try:
        place.bed.stop_accounting()
        seen = place.look(job)
        assert (seen.state, "controller" in seen.word) == (JobState.UNREACHABLE, True)
    finally:
        place.bed.start_accounting()
        place.bed.start_controller()
    looks = place.until(job)
    assert not any(one.state.is_final for one in looks[:-1])
    assert (looks[-1].state, looks[-1].exit_code) == (SUCCEEDED, 0)


@pytest.mark.slow
def test_row_7_ssh_down(place: Place, sshd: SshBed) -> None:
    job = place.submit("for i in $(seq 24); do echo $i; sleep 0.5; done; exit 3")
    logs = place.logs(job)
    following = Following(logs, job, "0")
    wait_until(lambda: "2" in following.lines["0"], 20, "its second line")
    sshd.stop_server()
    try:
        assert place.look(job) == Seen(JobState.UNREACHABLE)
    finally:
        sshd.start_server()
    assert place.until(job)[-1].exit_code == 3
    assert following.to_end()["0"] == [str(line) for line in range(1, 25)]


def test_without_accounting(slurm_plain: SlurmBed) -> None:
    sshd = SshBed.start(slurm_plain.user, slurm_plain.environment)
    try:
        with logged_in(slurm_plain, sshd, slurm_plain.work / "jobs of mine") as place:
            job = place.submit("sleep 1; exit 3")
            assert place.until(job)[-1] == Seen(FAILED, "FAILED", exit_code=3)
            job = place.submit("sleep 300")
            place.until(job, RUNNING)
            place.cancel(job)
            assert place.look(job).state is CANCELLED
            place.bed.freeze_controller()
            try:
                assert place.look(job).state is JobState.UNREACHABLE
            finally:
                place.bed.thaw_controller()
    finally:
        sshd.stop()


@pytest.mark.slow
def test_a_job_that_the_controller_has_forgotten() -> None:
    with started(accounting=True, min_job_age=2) as place:
        told = place.submit("exit 3")
        stopped = place.submit("sleep 300")
        place.until(stopped, RUNNING)
        place.cancel(stopped)
        place.forgotten(told)
        place.forgotten(stopped)
        assert place.look(told) == Seen(FAILED, "FAILED", exit_code=3)
        assert place.look(stopped).state is CANCELLED
        assert place.look(stopped).word.startswith("CANCELLED by")

        late = place.submit("sleep 300")
        place.until(late, RUNNING)
        place.bed.stop_accounting()
        place.cancel(late)
        place.forgotten(late)
        assert place.look(late).state is JobState.UNKNOWN, "accounting will tell when it is back"
        assert place.look(told) == Seen(FAILED, "exit code 3", exit_code=3)
        place.bed.start_accounting()
        assert place.until(late)[-1].state is CANCELLED


@pytest.mark.slow
def test_a_job_that_nobody_knows_any_more() -> None:
    with started(accounting=False, min_job_age=2) as place:
        told = place.submit("exit 3")
        stopped = place.submit("sleep 300")
        place.until(stopped, RUNNING)
        place.cancel(stopped)
        place.forgotten(told)
        place.forgotten(stopped)
        assert place.look(told) == Seen(FAILED, "exit code 3", exit_code=3)
        assert place.look(stopped).state is LOST
        place.cancel(stopped)
        place.remove(stopped)
        assert not place.folder(stopped).exists()


def test_row_4_a_workspace_that_fills_up_while_a_job_logs() -> None:
    require_beds(slurm_bed.PROGRAMS)
    with tempfile.TemporaryDirectory(prefix="nemotron-small-") as folder:
        small = Path(folder)
        small.chmod(0o755)
        # Before the nodes are there: what is mounted later they do not see.
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "small", folder]
        unmount = ["umount", "-l", folder]
        subprocess.run(mount, check=True, timeout=20)
        try:
            with started(accounting=False, min_job_age=300, home=small / "home") as place:
                body = "echo begun; head -c 8000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo over; exit 5"
                job = place.submit(body)
                seen = place.until(job)[-1]
                assert (seen.state, seen.exit_code) == (FAILED, 5), place.bed.run("df", folder).stdout
                lines = list(place.logs(job).lines(f"{job.name}-0"))
                assert lines[0] == "begun"
                assert len(lines) > 1_000
                place.remove(job)
                again = place.submit("exit 0")
                assert place.until(again)[-1].state is SUCCEEDED
        finally:
            subprocess.run(unmount, check=True, timeout=20)


def test_jobs_as_the_library_writes_them(place: Place, tmp_path: Path) -> None:
    """Followed from waiting to the end, the second of them waiting for the first, which fails."""
    client = SlurmClient(place.shell, str(place.home), tmp_path)
    launch = "echo $SLURM_PROCID on $(hostname); [ $SLURM_PROCID = 1 ] && sleep 2 && exit 3; sleep 60"
    slurm_job = SlurmJob(home=str(place.home), tasks=(SlurmTask(nodes=2),))
    made = request(slurm_job, files={"launch.sh": (launch.encode(), False)}, env={}, secrets={"TOKEN": "canary"})
    job = client.submit(made, f"first-{new_token()}")
    waiting = client.submit(replace(made, after=(job.id,)), f"second-{new_token()}")

    shown: list[tuple[str, str]] = []
    said: list[str] = []
    follower = Follower(client, job, show=lambda pod, line: shown.append((pod, line)), say=said.append)
    assert follower.run().state is FAILED
    assert client.look(job) == Seen(FAILED, "FAILED", exit_code=3)
    assert {(f"{job.name}-0", "0 on n1"), (f"{job.name}-1", "1 on n2")} <= set(shown)
    assert said[-1] == f"{job.name}: failed"

    place.until(waiting)
    seen = client.look(waiting)
    assert (seen.state, seen.exit_code) == (CANCELLED, None)
    assert seen.word == "CANCELLED (Dependency)"
    assert place.bed.run("squeue", "-h").stdout == ""
    for one in (job, waiting):
        assert not (place.folder(one) / "secrets.sh").exists()
        client.remove(one)
        assert not place.folder(one).exists()
