"""Submitting a job once, with a Slurm of stand-ins; the real one is in tests/clusters."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from pathlib import Path

import pytest

from nemo_runspec.errors import NothingSentError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.slurm import submission
from nemo_runspec.platforms.slurm.submission import find, job_archive, submit
from nemo_runspec.platforms.workload import NAME, Request, Submitted, Tree
from tests.nemo_runspec.platforms.slurm.queue import Queue
from tests.nemo_runspec.platforms.slurm.test_sources import SMALL, tree_of

IMPATIENT = Patience(deadline_s=0.5, first_wait_s=0.05, longest_wait_s=0.1)
JOB = "a-job-abc123"
REMOTE = Path(submission.__file__).with_name("remote")


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(tmp_path / "bin", monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "the [ho]me's $x"


def request(source: Tree | None = None, after: tuple[str, ...] = ()) -> Request:
    script = f"#!/bin/bash\n#SBATCH --job-name={NAME}\n"
    files = {"job.sbatch": (script.encode(), False), "launch.sh": (b"true\n", True), "code/own.py": (b"\xff", False)}
    secrets = (("HF_TOKEN", "it's $x\nand more"),)
    return Request("slurm", "job", {}, files=files, secrets=secrets, source=source, after=after)


def submitted(home: Path, made: Request | None = None, name: str = JOB) -> Submitted:
    return submit(LocalShell(), str(home), home.parent / "sources", made or request(), name, patience=IMPATIENT)


def test_a_job_is_submitted_with_its_files(home: Path, queue: Queue) -> None:
    assert submitted(home, request(SMALL, ("7", "8"))) == Submitted("slurm", "job", "1", JOB)
    folder = home / "jobs" / JOB
    assert queue.calls() == ["--parsable --dependency=afterok:7:8 job.sbatch"]
    assert f"--job-name={JOB}\n" in (folder / "job.sbatch").read_text(encoding="utf-8")
    assert (folder / "code/own.py").read_bytes() == b"\xff"
    assert (folder / "code/pkg/a b.py").read_bytes() == b"one"
    assert not (folder / "code/pkg/a b.py").samefile(home / "sources" / SMALL.sha256 / "pkg/a b.py")
    assert (folder / "secrets.sh").read_text(encoding="utf-8") == "export HF_TOKEN='it'\"'\"'s $x\nand more'\n"
    assert {(folder / name).is_dir() for name in ("logs", "exit")} == {True}
    open_to_others = [path for path in home.rglob("*") if path.stat().st_mode & 0o077 and SMALL.sha256 not in str(path)]
    assert open_to_others == []
    assert not list(folder.glob(".files*")) + list(folder.glob(".sending"))


def test_results_have_the_callers_umask(home: Path, queue: Queue) -> None:
    seen = home.parent / "umask"
    queue.fault(f"umask > {shlex.quote(str(seen))}")
    before = os.umask(0o027)
    try:
        submitted(home)
    finally:
        os.umask(before)
    assert seen.read_text(encoding="ascii").strip() == "0027"
    assert [path for path in (home / "jobs").rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_name_is_submitted_once(home: Path, queue: Queue) -> None:
    assert submitted(home) == submitted(home)
    assert submitted(home, name="another").id == "2"
    assert len(queue.calls()) == 2


def test_many_at_once_submit_one_job(home: Path, queue: Queue) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(submitted(home, request(SMALL)).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["1"] * 8
    assert len(queue.calls()) == 1


def test_a_refusal_leaves_nothing_and_says_why(home: Path, queue: Queue) -> None:
    queue.fault("fail 'invalid partition specified: nope' 'Batch job submission failed: Invalid partition'")
    with pytest.raises(RefusedError, match="specified: nope; Batch job submission failed: Invalid partition"):
        submitted(home)
    assert list((home / "jobs").iterdir()) == []
    assert submitted(home).id == "1"


@pytest.mark.parametrize(
    "fault",
    [
        "accept; fail 'Batch job submission failed: Socket timed out on send/recv operation'",
        "accept; fail 'Batch job submission failed: Zero Bytes were transmitted or received'",
        "accept; kill -KILL $PPID; exit 1",
        "accept; exit 0",
    ],
)
def test_a_lost_reply_is_looked_up(home: Path, queue: Queue, fault: str) -> None:
    queue.fault(fault)
    assert submitted(home).id == "1"
    assert queue.jobs() == [("1", JOB)]


def test_a_call_that_never_got_through_is_made_again(home: Path, queue: Queue) -> None:
    queue.fault("fail 'Batch job submission failed: Unable to contact slurm controller (connect failure)'")
    assert submitted(home).id == "1"
    assert len(queue.calls()) == 2


def test_nothing_is_submitted_again_where_nobody_can_be_asked(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, home.parent)
    queue.fault("accept; fail 'Batch job submission failed: Socket timed out on send/recv operation'")
    queue.silence()
    with pytest.raises(
        UnreachableError, match=f"not known whether the job '{JOB}' was submitted: .*does not answer"
    ) as error:
        submitted(home)
    assert error.value.remedy is not None
    assert not isinstance(error.value, NothingSentError)
    assert f"squeue --me --states=all --name={JOB}" in error.value.remedy
    assert len(queue.calls()) == 1
    with pytest.raises(UnreachableError, match=r"Slurm does not answer: .*Unable to contact"):
        find(LocalShell(), str(home), JOB)
    queue.silence(on=False)
    assert submitted(home).id == "1"
    assert len(queue.calls()) == 1


def shorten(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the scripts look for a shorter time."""
    short = folder / "remote"
    shutil.copytree(REMOTE, short)
    for script in short.glob("*.sh"):
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace("$calm_s 10", "$calm_s 0").replace("calm_s=15", "calm_s=1"), encoding="utf-8")
    monkeypatch.setattr(submission, "_REMOTE", short)


def test_what_an_interrupted_submission_left_is_done_anew(
    home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, home.parent)
    submitted(home, name="before")
    folder = home / "jobs" / JOB
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "half").touch()
    (folder / ".sending").touch()
    assert submitted(home).id == "2"
    assert not (folder / "code" / "half").exists()
    assert len(queue.calls()) == 2


def test_what_another_one_left_in_the_folder_that_was_made_here_is_done_anew(home: Path, queue: Queue) -> None:
    other = (
        '/bin/mkdir "$@" && case $* in *-m*/jobs/*) /bin/mkdir "$4/code" "$4/logs" && echo x > "$4/train.yaml" ;; esac'
    )
    queue.program("mkdir", f"#!/bin/bash\n{other}\n")
    assert submitted(home).id == "1"
    assert not (home / "jobs" / JOB / "train.yaml").exists()


def test_a_job_that_has_run_is_not_submitted_again(home: Path, queue: Queue) -> None:
    submitted(home, name="before")
    (home / "jobs" / JOB / "exit").mkdir(parents=True)
    (home / "jobs" / JOB / "exit" / "job.0").touch()
    with pytest.raises(UnreachableError, match="the job has run, and Slurm knows it no longer"):
        submitted(home)
    with pytest.raises(UnreachableError, match="the job has run"):
        find(LocalShell(), str(home), JOB)
    assert len(queue.calls()) == 1


def test_files_that_do_not_arrive_whole_are_not_submitted(home: Path, queue: Queue) -> None:
    (home / "jobs").mkdir(parents=True)
    answer = LocalShell().bash(REMOTE / "submit.sh", str(home), JOB, "", "0" * 64, stdin=b"half")
    assert (answer.code, answer.err) == (75, "the job's files did not arrive whole\n")
    assert list((home / "jobs").iterdir()) == []
    assert queue.calls() == []


def test_a_source_travels_once(home: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, str | None]] = []
    send_tree = LocalShell.send_tree

    def counted(shell: LocalShell, source: Path, target: str, *, basis: str | None = None, timeout_s: float = 1) -> int:
        sent.append((send_tree(shell, source, target, basis=basis, timeout_s=timeout_s), basis))
        return sent[-1][0]

    monkeypatch.setattr(LocalShell, "send_tree", counted)
    data = os.urandom(50_000)
    first, changed = tree_of([("a", data, False)]), tree_of([("a", data, False), ("b", b"new", False)])
    submitted(home, request(first), "one")
    submitted(home, request(first), "two")
    submitted(home, request(changed), "three")
    assert len(queue.calls()) == 3
    assert [basis for _, basis in sent] == [None, f"{home}/sources/{first.sha256}"]
    assert sent[1][0] < 10_000 < sent[0][0]
    assert not list((home / "sources").glob(".*.part"))
    assert not list((home.parent / "sources").glob("[0-9a-f]*"))


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_source_tree_that_is_not_whole_is_sent_again(home: Path, queue: Queue, damage: str) -> None:
    submitted(home, request(SMALL), "one")
    file = home / "sources" / SMALL.sha256 / "pkg" / "a b.py"
    if damage == "changed":
        file.write_bytes(b"worm")
    else:
        file.unlink()
    submitted(home, request(SMALL), "two")
    assert (home / "jobs/two/code/pkg/a b.py").read_bytes() == b"one"
    assert file.read_bytes() == b"one"
    assert len(queue.calls()) == 2


def test_a_file_here_that_has_changed_is_noticed_there(home: Path, queue: Queue) -> None:
    local = home.parent / "sources" / SMALL.sha256
    local.mkdir(parents=True)
    (local / "extra").write_bytes(b"x")
    submitted(home, request(SMALL))
    assert not (home / "jobs" / JOB / "code" / "extra").exists()
    assert len(queue.calls()) == 1


def test_a_full_disk_is_told_and_leaves_nothing(home: Path, queue: Queue) -> None:
    queue.program("cp", "#!/bin/sh\necho \"cp: error writing 'x': No space left on device\" >&2; exit 1\n")
    with pytest.raises(
        RefusedError, match=rf"{re.escape(str(home))} on this machine cannot be written: .*No space left on device"
    ):
        submitted(home, request(SMALL))
    assert list((home / "jobs").iterdir()) == []
    queue.without("cp")
    assert submitted(home, request(SMALL)).id == "1"


def test_too_little_room_is_told_before_anything_is_sent(home: Path, queue: Queue) -> None:
    queue.program("df", "#!/bin/sh\necho head\necho 1000 10\n")
    with pytest.raises(
        RefusedError, match=rf"No space left in {re.escape(str(home))} on this machine: .* bytes needed, 10 free"
    ):
        submitted(home, request(SMALL))
    assert not list((home / "sources").glob("[0-9a-f]*"))
    for number, told in enumerate(("0 0", "- -", "1000 -", ""), start=1):
        queue.program("df", f"#!/bin/sh\necho head\necho {told}\n")
        assert submitted(home, name=f"job-{number}").id == str(number)


@pytest.mark.usefixtures("queue")
def test_sources_that_no_job_has_used_for_long_are_removed(home: Path) -> None:
    submitted(home, request(SMALL), "one")
    sources = home / "sources"
    digest = "0123456789abcdef" * 4
    old = [sources / digest, sources / f".{digest[::-1]}.part", sources / "not ours"]
    for folder in old:
        folder.mkdir()
        os.utime(folder, (0, 0))
    (sources / f".{digest}.sha256").touch()
    submitted(home, request(tree_of([("a", b"", False)])), "two")
    assert [folder.exists() for folder in old] == [False, False, True]
    assert not list(sources.glob(f".{digest}*"))
    assert (sources / SMALL.sha256).is_dir()


def test_a_folder_that_others_may_write_to_is_not_used(home: Path, queue: Queue) -> None:
    home.mkdir()
    home.chmod(0o770)
    with pytest.raises(RefusedError, match=r"others may write to .*mode 770"):
        submitted(home)
    home.chmod(0o700)
    home.parent.chmod(0o777)
    with pytest.raises(RefusedError, match="everyone may replace what is in"):
        submitted(home)
    home.parent.chmod(0o1777)
    assert submitted(home).id == "1"
    assert len(queue.calls()) == 1


def test_a_file_system_without_locks_is_told(home: Path, queue: Queue) -> None:
    queue.program("flock", "#!/bin/sh\necho 'flock: 9: Function not implemented' >&2; exit 71\n")
    with pytest.raises(RefusedError, match=r"Function not implemented; the file system of .* has no locks"):
        submitted(home)
    assert queue.calls() == []


def test_a_folder_that_cannot_be_made_is_told(home: Path, queue: Queue) -> None:
    home.touch()
    with pytest.raises(RefusedError, match=r"cannot be written: .*File exists"):
        submitted(home)
    assert queue.calls() == []


def test_dependents_are_noted_with_the_job_they_wait_for(home: Path, queue: Queue) -> None:
    first = submitted(home, name="first")
    second = submitted(home, request(after=(first.id,)), "second")
    assert (home / "jobs/first/dependents").read_text(encoding="ascii") == f"{second.id}\n"
    assert len(queue.calls()) == 2


def test_a_submission_that_was_given_up_makes_nothing(home: Path, queue: Queue) -> None:
    given_up = threading.Event()
    given_up.set()
    token = ABANDONED.set(given_up)
    try:
        with pytest.raises(AbandonedError):
            submitted(home)
    finally:
        ABANDONED.reset(token)
    assert queue.calls() == []


def test_finding(home: Path, queue: Queue) -> None:
    shell = LocalShell()
    assert find(shell, str(home), JOB) is None
    made = submitted(home)
    assert find(shell, str(home), JOB) == made
    (home / "jobs" / JOB / ".jobid").unlink()
    assert find(shell, str(home), JOB) == made
    assert (home / "jobs" / JOB / ".jobid").read_text(encoding="ascii") == f"{made.id}\n"
    half = home / "jobs" / "half"
    half.mkdir()
    (half / "secrets.sh").touch()
    assert find(shell, str(home), "half") is None
    assert not half.exists()
    assert len(queue.calls()) == 1


def test_the_archive_is_the_same_for_the_same_job() -> None:
    assert job_archive(request(), JOB) == job_archive(request(), JOB)
    with pytest.raises(ValueError, match="no file of a job's folder"):
        job_archive(Request("slurm", "job", {}, files={"../x": (b"", False)}), JOB)
    with pytest.raises(ValueError, match="variable of a shell"):
        job_archive(Request("slurm", "job", {}, secrets=(("A B", "x"),)), JOB)


@pytest.mark.parametrize("name", ["", "-x", "a/b", "A", "a b", "a-", "../x"])
def test_odd_names_are_a_mistake(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no unique name"):
        find(LocalShell(), str(home), name)
