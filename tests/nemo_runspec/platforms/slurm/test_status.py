from __future__ import annotations

import shutil
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, RefusedError, UnreachableError
from nemo_runspec.platforms.slurm.status import look, parse
from nemo_runspec.platforms.workload import Cause, JobState, Seen, Submitted
from tests.nemo_runspec.platforms.slurm.watching import JOB, NAME, Cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemo_runspec.platforms.scripted import FakeTime

GONE = "slurm_load_jobs error: Invalid job id specified\n"
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
NO_DATABASE = "sacct: error: Problem talking to the database: Connection refused\n"
NO_ACCOUNTING = "Slurm accounting storage is disabled\n"


def queue(state: str, reason: str = "None", start: str = "N/A", name: str = NAME) -> str:
    return f"row|42|{state}|{reason}|{start}|{name}\n"


def control(state: str, reason: str = "None", code: str = "0:0", restarts: int = 0, name: str = NAME) -> str:
    return (
        f"JobId=42 JobName={name} UserId=me(7) Priority=1 Nice=0 QOS=normal JobState={state} Reason={reason} "
        f"Dependency=(null) Requeue=1 Restarts={restarts} BatchFlag=1 Reboot=0 ExitCode={code} StartTime=Unknown "
        f"Comment=JobName=other JobState=FAILED\n"
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def seen_on(cluster: Cluster, time: FakeTime) -> Seen:
    return look(cluster, str(cluster.home), JOB, patience=time.patience())


def test_a_running_job_is_asked_for_without_accounting(cluster: Cluster, time: FakeTime) -> None:
    cluster.slurm(queue=queue("RUNNING"), control=control("RUNNING", restarts=1))
    assert seen_on(cluster, time) == Seen(JobState.RUNNING, "RUNNING", attempt=1)
    assert cluster.calls("sacct") == []
    assert cluster.calls("squeue") == ["-h -t all -j 42 -o row|%i|%T|%r|%S|%j"]


def test_a_job_that_has_failed_tells_its_own_exit_code(cluster: Cluster, time: FakeTime) -> None:
    (cluster.job / "exit/job.0").write_text("3\n")
    (cluster.job / "exit/task-0.0").write_text("3\n")
    cluster.slurm(queue=queue("FAILED", "NonZeroExitCode"), control=control("FAILED", "NonZeroExitCode", "1:0"))
    assert seen_on(cluster, time) == Seen(JobState.FAILED, "FAILED", exit_code=3)


def test_a_job_that_was_out_of_memory_tells_so(cluster: Cluster, time: FakeTime) -> None:
    (cluster.job / "exit/job.0").write_text("137\nmemory\n")
    cluster.slurm(queue=queue("FAILED", "NonZeroExitCode"), control=control("FAILED", "NonZeroExitCode", "137:0"))
    assert seen_on(cluster, time) == Seen(JobState.FAILED, "FAILED", exit_code=137, cause=Cause.MEMORY)


def test_tasks_tell_where_their_job_cannot(cluster: Cluster, time: FakeTime) -> None:
    """A batch script that was killed writes nothing."""
    for task, code in (("task-0.0", "7"), ("task-0.1", "143"), ("task-1.1", "9"), ("task-2.1", "")):
        (cluster.job / "exit" / task).write_text(code)
    (cluster.job / "logs/task-0.1.log").touch()
    cluster.slurm(queue=queue("FAILED"), control=control("FAILED", restarts=1))
    assert seen_on(cluster, time) == Seen(JobState.FAILED, "FAILED", exit_code=9, attempt=1)


def test_a_waiting_job_tells_reason_and_start(cluster: Cluster, time: FakeTime) -> None:
    cluster.slurm(queue=queue("PENDING", "Resources", "2026-11-20T12:00:00"), control=control("PENDING", "Resources"))
    assert seen_on(cluster, time).word == "PENDING (Resources), start expected 2026-11-20 12:00 UTC"
    cluster.slurm(queue=queue("PENDING", "DependencyNeverSatisfied"), control=DOWN)
    assert seen_on(cluster, time).cause is Cause.NEVER


@pytest.mark.parametrize(
    ("state", "dependency", "cause"),
    [
        ("PENDING", "afterok:3(unfulfilled)", None),
        ("PENDING", "afterok:3(failed)", Cause.NEVER),
        ("PENDING", "afterok:3(failed)?afterok:4(unfulfilled)", None),
        ("CANCELLED", "afterok:3(failed),afterok:4(unfulfilled)", Cause.NEVER),
        ("CANCELLED", "afterok:3(unfulfilled)", None),
        ("RUNNING", "afterok:3(failed)", None),
    ],
)
def test_a_job_that_waits_in_vain(
    cluster: Cluster, time: FakeTime, state: str, dependency: str, cause: Cause | None
) -> None:
    told = control(state, "Dependency").replace("Dependency=(null)", f"Dependency={dependency}")
    cluster.slurm(queue=queue(state, "Dependency"), control=told)
    seen = seen_on(cluster, time)
    assert seen.cause is cause
    assert seen.word.endswith(")") == (state != "RUNNING")


def test_what_the_queue_has_forgotten_is_asked_of_accounting(cluster: Cluster, time: FakeTime) -> None:
    rows = [f"42|REQUEUED|0:0|2026-11-20T11:20:04|{NAME}", f"42|CANCELLED by 7|0:0|2026-11-20T11:20:04|{NAME}"]
    cluster.slurm(queue=GONE, control=GONE, account="\n".join(rows) + "\n")
    assert seen_on(cluster, time) == Seen(JobState.CANCELLED, "CANCELLED by 7", attempt=1)


def test_the_number_of_another_job_is_not_ours(cluster: Cluster, time: FakeTime) -> None:
    other = "another|job"
    (cluster.job / "exit/job.0").write_text("0\n")
    cluster.slurm(
        queue=queue("FAILED", name=other),
        control=control("FAILED", name="another"),
        account=f"42|FAILED|1:0|2026-11-20T11:20:04|{other}\n42|TIMEOUT|0:0|2025-11-20T11:20:04|{NAME}\n",
    )
    assert seen_on(cluster, time) == Seen(JobState.FAILED, "TIMEOUT", exit_code=None, cause=Cause.TIMEOUT)


@pytest.mark.parametrize(
    ("account", "code", "state"),
    [(NO_ACCOUNTING, 1, JobState.LOST), ("", 0, JobState.LOST), (NO_DATABASE, 1, JobState.UNKNOWN)],
)
def test_a_job_is_lost_only_when_accounting_could_be_asked(
    cluster: Cluster, time: FakeTime, account: str, code: int, state: JobState
) -> None:
    cluster.program("squeue", GONE, code=1)
    cluster.program("scontrol", GONE, code=1)
    cluster.program("sacct", account, code=code)
    assert seen_on(cluster, time).state is state
    # Accounting may hear of an end some seconds late.
    waited = sum(time.waits)
    assert waited == (30 if state is JobState.LOST else 0)
    shutil.rmtree(cluster.job)
    assert seen_on(cluster, time).state is state
    assert sum(time.waits) == waited


def test_a_late_accounting_is_waited_for(cluster: Cluster, time: FakeTime) -> None:
    """It answers the second time."""
    row = f"42|COMPLETED|0:0|2026-11-20T11:20:04|{NAME}"
    cluster.slurm(queue=GONE, control=GONE)
    cluster.program("sacct", then=f'[ "$(wc -l <{cluster.home}/../sacct.calls)" -gt 1 ] && echo "{row}"')
    assert seen_on(cluster, time) == Seen(JobState.SUCCEEDED, "COMPLETED", exit_code=0)


def test_slurm_that_cannot_be_asked(cluster: Cluster, time: FakeTime) -> None:
    for program in ("squeue", "scontrol"):
        cluster.program(program, DOWN, code=1)
    cluster.program("sacct", NO_DATABASE, code=1)
    seen = seen_on(cluster, time)
    assert seen.state is JobState.UNREACHABLE
    assert "Unable to contact slurm controller" in seen.word
    (cluster.job / "exit/job.0").write_text("0\n")
    assert seen_on(cluster, time) == Seen(JobState.SUCCEEDED, "exit code 0", exit_code=0)


def test_a_cluster_without_slurms_programs(cluster: Cluster, time: FakeTime) -> None:
    for program in ("squeue", "scontrol", "sacct"):
        cluster.program(program, f"timeout: failed to run command '{program}': No such file or directory\n", code=127)
    assert seen_on(cluster, time).state is JobState.UNREACHABLE
    cluster.program("squeue", GONE, code=1)
    assert seen_on(cluster, time).state is JobState.LOST, "a cluster need not have accounting"


def test_slurm_that_hangs_is_not_waited_for(cluster: Cluster, time: FakeTime) -> None:
    (cluster.job / "exit/job.0").write_text("3\n")
    for program in ("squeue", "scontrol", "sacct"):
        cluster.program(program, then="exec sleep 60")
    began = monotonic()
    assert seen_on(cluster, time).exit_code == 3
    assert monotonic() - began < 15  # 8 s, on a machine that does nothing else


def test_a_machine_that_cannot_be_reached_is_an_answer(cluster: Cluster, time: FakeTime) -> None:
    cluster.errors = [UnreachableError("no route"), DeniedError("no key")]
    assert seen_on(cluster, time) == Seen(JobState.UNREACHABLE)
    with pytest.raises(DeniedError):
        seen_on(cluster, time)


def test_who_sees_the_end_removes_the_secrets(cluster: Cluster, time: FakeTime) -> None:
    """A job that was cancelled while it waited could not do so itself."""
    secrets = cluster.job / "secrets.sh"
    secrets.write_text("export TOKEN=x\n")
    for state, reason in (("RUNNING", "None"), ("COMPLETING", "None"), ("PENDING", "DependencyNeverSatisfied")):
        cluster.slurm(queue=queue(state, reason), control=control(state, reason))
        seen_on(cluster, time)
        assert secrets.exists(), state
    cluster.slurm(queue=queue("CANCELLED"), control=control("CANCELLED"))
    for _ in range(2):
        assert seen_on(cluster, time).state is JobState.CANCELLED
        assert not secrets.exists()
    assert cluster.scripts.count("remove") == 1


def test_secrets_that_cannot_be_removed_do_not_hide_the_state(cluster: Cluster, time: FakeTime) -> None:
    (cluster.job / "secrets.sh").mkdir()
    cluster.slurm(queue=queue("CANCELLED"), control=control("CANCELLED"))
    assert seen_on(cluster, time).state is JobState.CANCELLED
    assert cluster.scripts == ["look", "remove"]


def test_half_an_answer_is_none() -> None:
    assert parse("exit\tjob\t0\t0\t\n", JOB) is None
    assert parse("", JOB) is None
    assert parse("code\tsqueue\t0\nend\n", JOB) is not None


@pytest.mark.parametrize(("number", "name"), [("42;x", NAME), ("", NAME), ("42", "../x"), ("42", "-x"), ("42", "A")])
def test_what_is_no_job_of_ours_is_not_asked_about(cluster: Cluster, number: str, name: str) -> None:
    with pytest.raises(RefusedError):
        look(cluster, str(cluster.home), Submitted("slurm", "job", number, name))
    assert cluster.scripts == []
