from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.slurm import logs as module
from nemo_runspec.platforms.slurm.logs import RemoteLogs
from nemo_runspec.platforms.workload import JobState, Seen
from tests.nemo_runspec.platforms.slurm.watching import JOB, NAME, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


RUNNING, DONE = Seen(JobState.RUNNING), Seen(JobState.SUCCEEDED)
QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.02, deadline_s=0.2)
WAIT_S = 20.0


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "SLOWEST_S", 0.05)
    return Cluster(tmp_path)


class Job:
    """A job whose logs are read while a test writes them."""

    def __init__(self, cluster: Cluster, seen: Seen = RUNNING) -> None:
        self.cluster = cluster
        self.seen = seen
        self.logs = RemoteLogs(cluster, str(cluster.home), JOB, patience=QUICK, look_now=lambda: self.seen)

    def write(self, file: str, content: bytes) -> None:
        with (self.cluster.job / "logs" / file).open("ab") as log:
            log.write(content)

    def end(self) -> None:
        self.seen = DONE
        self.logs.told(DONE)

    def all(self, pod: str = "0") -> list[str]:
        """Read a log to its end."""
        return list(self.logs.lines(f"{NAME}-{pod}"))

    def read(self, pod: str = "0") -> SimpleQueue[str | None]:
        """Read a log in a thread; None is its end."""
        lines: SimpleQueue[str | None] = SimpleQueue()

        def read() -> None:
            for line in self.logs.lines(f"{NAME}-{pod}"):
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        return lines


def rest_of(lines: SimpleQueue[str | None]) -> Iterator[str]:
    while (line := lines.get(timeout=WAIT_S)) is not None:
        yield line


def test_pods_are_what_has_logs(cluster: Cluster) -> None:
    job = Job(cluster)
    for file in ("task-10.0.log", "task-2.0.log", "task-2.1.log", "batch.0.log", "core", "x.log"):
        job.write(file, b"")
    assert job.logs.pods() == (f"{NAME}-2", f"{NAME}-10")
    job.write("batch.0.log", b"srun: error\n")
    assert Job(cluster).logs.pods() == (f"{NAME}-2", f"{NAME}-10", f"{NAME}-batch")


def test_pods_of_a_job_that_is_over_are_complete(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOWEST_S", 60.0)
    job = Job(cluster)
    assert job.logs.pods() == ()
    job.write("task-0.0.log", b"")
    assert job.logs.pods() == (), "it was asked for just now"
    job.end()
    assert job.logs.pods() == (f"{NAME}-0",)


def test_a_job_without_a_folder_has_no_logs(cluster: Cluster) -> None:
    for folder in ("logs", "exit", ""):
        (cluster.job / folder).rmdir()
    assert Job(cluster).logs.pods() == ()
    assert Job(cluster, DONE).all() == []


def test_the_log_of_a_job_that_is_over(cluster: Cluster) -> None:
    job = Job(cluster, DONE)
    job.write("task-0.0.log", b"a\r\n\xff\n\x1b[1mb\n 1%\r 2%\nlast")
    job.write("batch.0.log", b"other\n")
    assert job.all() == ["a", "\ufffd", "\x1b[1mb", " 1%\r 2%", "last"]
    assert job.all("batch") == ["other"]


def test_bytes_of_every_kind_arrive(cluster: Cluster) -> None:
    job = Job(cluster, DONE)
    kinds = bytes(set(range(256)) - {10, 13})
    job.write("task-0.0.log", (kinds + b"\n") * 3_000)
    assert job.all() == [kinds.decode(errors="replace")] * 3_000


def test_a_log_is_followed_over_attempts_to_its_end(cluster: Cluster) -> None:
    job = Job(cluster)
    lines = job.read()
    job.write("task-0.0.log", b"one\n")
    assert lines.get(timeout=WAIT_S) == "one"
    job.write("task-0.0.log", b"half")
    job.write("task-0.1.log", b"")
    job.write("task-0.0.log", b" line\nlost wor")
    assert lines.get(timeout=WAIT_S) == "half line"
    job.write("task-0.1.log", b"two\n")
    assert [lines.get(timeout=WAIT_S) for _ in range(3)] == ["lost wor", "[attempt 1 begins]", "two"]
    job.write("task-0.1.log", b"end")
    job.end()
    assert list(rest_of(lines)) == ["end"]


def test_a_log_that_has_become_shorter(cluster: Cluster) -> None:
    job = Job(cluster)
    lines = job.read()
    job.write("task-0.0.log", b"a long line\n")
    assert lines.get(timeout=WAIT_S) == "a long line"
    (cluster.job / "logs/task-0.0.log").write_bytes(b"new\n")
    assert "shorter" in str(lines.get(timeout=WAIT_S))
    job.end()
    assert list(rest_of(lines)) == ["new"]


def test_all_logs_come_with_one_call(cluster: Cluster) -> None:
    tasks = 24
    job = Job(cluster, DONE)
    for task in range(tasks):
        job.write(f"task-{task}.0.log", b"".join(b"%d %d\n" % (task, line) for line in range(2_000)))
    readers = [job.read(str(task)) for task in range(tasks)]
    for task, lines in enumerate(readers):
        assert list(rest_of(lines)) == [f"{task} {line}" for line in range(2_000)]
    # Each for itself would ask at least four times.
    assert cluster.scripts.count("logs") < 2 * tasks


def test_more_than_one_call_gives_comes_in_order(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EACH", 1_000)
    monkeypatch.setattr(module, "TOTAL", 2_500)
    job = Job(cluster, DONE)
    expected = {str(task): [f"{task} line {line}" for line in range(500)] for task in range(5)}
    for task, text in expected.items():
        job.write(f"task-{task}.0.log", "\n".join(text).encode())
    readers = {task: job.read(task) for task in expected}
    assert {task: list(rest_of(lines)) for task, lines in readers.items()} == expected


def test_a_line_of_50_mb_is_cut(cluster: Cluster) -> None:
    job = Job(cluster, DONE)
    job.write("task-0.0.log", b"x" * 50_000_000 + b"\nnext\n")
    cut, following = job.all()
    assert len(cut) < 1_100_000
    assert cut.endswith(f"[{50_000_000 - (1 << 20)} more bytes of this line are left out]")
    assert following == "next"


def test_a_log_that_cannot_be_read_does_not_keep_anybody(cluster: Cluster) -> None:
    job = Job(cluster, DONE)
    job.write("task-1.0.log", b"a\n")
    # It is as long as it says, and reading it fails even for an administrator.
    (cluster.job / "logs/task-0.0.log").mkdir()
    assert job.all("0") == []
    assert job.all("1") == ["a"]


def test_an_outage_is_waited_out_while_the_job_may_go_on(cluster: Cluster) -> None:
    job = Job(cluster)
    cluster.errors = [UnreachableError("no route")] * 60  # more than a second: beyond the deadline
    job.write("task-0.0.log", b"a\n")
    lines = job.read()
    assert lines.get(timeout=WAIT_S) == "a"
    assert cluster.errors == []
    job.end()
    assert list(rest_of(lines)) == []


def test_an_outage_has_an_end_once_the_job_is_over(cluster: Cluster) -> None:
    job = Job(cluster, DONE)
    cluster.errors = [UnreachableError("no route")] * 1_000
    with pytest.raises(UnreachableError, match="no route"):
        job.all()
    cluster.errors = []
    job.write("task-0.0.log", b"a\n")
    assert job.all() == ["a"], "asked again, it is read again"


def test_who_is_not_let_in_is_told_at_once(cluster: Cluster) -> None:
    job = Job(cluster)
    cluster.errors = [DeniedError("no key")]
    with pytest.raises(DeniedError):
        job.all()
    cluster.errors = [DeniedError("no key")]
    with pytest.raises(DeniedError):
        job.logs.pods()


def test_half_an_answer_is_none(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "logs.sh"
    script.write_text("echo 'bash: fork: no memory' >&2; exit 1")
    monkeypatch.setattr(module, "_LOGS", script)
    with pytest.raises(UnreachableError, match="no memory"):
        Job(cluster).logs.pods()


def test_a_reader_that_leaves_does_not_hold_the_others(cluster: Cluster) -> None:
    job = Job(cluster)
    job.write("task-0.0.log", b"a\nb\n")
    job.write("task-1.0.log", b"c\n")
    leaver = job.logs.lines(f"{NAME}-0")
    assert next(leaver) == "a"
    lines = job.read("1")
    assert lines.get(timeout=WAIT_S) == "c"
    job.end()
    assert list(rest_of(lines)) == []


def test_two_readers_of_one_log_both_get_all_of_it(cluster: Cluster) -> None:
    job = Job(cluster)
    job.write("task-0.0.log", b"a\n")
    first = job.read()
    assert first.get(timeout=WAIT_S) == "a"
    second = job.read()
    job.write("task-0.0.log", b"b\n")
    assert first.get(timeout=WAIT_S) == "b"
    job.end()
    assert list(rest_of(second)) == ["a", "b"]
    assert list(rest_of(first)) == []


def test_it_looks_for_itself_where_nobody_tells(cluster: Cluster) -> None:
    """By the script that looks: the exit file tells."""
    cluster.slurm(queue="slurm_load_jobs error: Invalid job id specified\n")
    (cluster.job / "exit/job.0").write_text("0\n")
    (cluster.job / "logs/task-0.0.log").write_text("a\n")
    logs = RemoteLogs(cluster, str(cluster.home), JOB, patience=QUICK)
    assert list(logs.lines(f"{NAME}-0")) == ["a"]
    assert cluster.scripts.count("look") == 1


def test_quiet_logs_are_asked_for_once_a_second(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.2)
    monkeypatch.setattr(module, "SLOWEST_S", 1.0)
    job = Job(cluster)
    readers = [job.read(str(task)) for task in range(8)]
    threading.Event().wait(3.0)
    assert 3 <= cluster.scripts.count("logs") <= 7
    job.end()
    for lines in readers:
        assert list(rest_of(lines)) == []
