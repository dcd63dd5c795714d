from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.platforms import local
from nemo_runspec.platforms.local import JOB_FOLDER, LocalClient, request
from nemo_runspec.platforms.workload import JobState, Request, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30
NAME = "sft-abc123"
# What the attached script of a job does, in a line: its number, its log, its exit code.
JOB = 'echo $$ >"$0/pid"; exec >>"$0/job.log" 2>&1; %s; code=$?; echo $code >"$0/exit_code"; exit $code'


def job(folder: Path, body: str, **env: str) -> Request:
    folder.mkdir(exist_ok=True)
    return request(["bash", "-c", JOB % body, JOB_FOLDER], folder, env=env, secrets={"TOKEN": "canary"})


def until(client: LocalClient, workload: Submitted, *states: JobState) -> JobState:
    end = time.monotonic() + WAIT_S
    while (state := client.look(workload).state) not in states:
        assert time.monotonic() < end, state
        time.sleep(0.02)
    return state


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LocalClient]:
    yield LocalClient(tmp_path / "home")
    for path in (tmp_path / "home").glob("*/process"):
        try:
            os.killpg(int(path.read_text(encoding="utf-8")), signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_job_is_started_once_and_found_again(client: LocalClient, tmp_path: Path) -> None:
    assert client.find("process", NAME) is None
    wanted = job(tmp_path / "job", 'echo "$WORD $TOKEN"; sleep 60', WORD="ein Wort")
    first = client.submit(wanted, NAME)
    assert client.submit(wanted, NAME) == first
    assert LocalClient(tmp_path / "home").find("process", NAME) == first
    until(client, first, JobState.RUNNING)
    assert next(client.log(first, "job")) == "ein Wort canary"
    with pytest.raises(RefusedError):
        client.remove(first)
    client.cancel(first)
    client.cancel(first)
    assert client.look(first).state is JobState.CANCELLED
    assert "canary" not in "".join(path.read_text() for path in (tmp_path / "home").rglob("*") if path.is_file())


def test_results_have_the_callers_umask(client: LocalClient, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        sent = client.submit(job(tmp_path / "job", 'echo x >"$0/result"'), NAME)
    finally:
        os.umask(before)
    until(client, sent, JobState.SUCCEEDED)
    assert (tmp_path / "job" / "result").stat().st_mode & 0o777 == 0o640
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(("code", "state"), [(0, JobState.SUCCEEDED), (3, JobState.FAILED)])
def test_an_end_is_told_with_its_code_and_all_lines(
    client: LocalClient, tmp_path: Path, code: int, state: JobState
) -> None:
    body = f"(printf 'a\\nb\\377\\r\\nlast'; exit {code})"
    workload = client.submit(job(tmp_path / "job", body), NAME)
    assert until(client, workload, JobState.SUCCEEDED, JobState.FAILED) is state
    assert client.look(workload).exit_code == code
    assert client.pods(workload) == ("job",)
    assert list(client.log(workload, "job")) == ["a", "b\ufffd", "last"]
    client.cancel(workload)
    assert client.look(workload).state is state
    client.remove(workload)
    assert client.look(workload).state is JobState.LOST
    assert (tmp_path / "job" / "job.log").exists()


def test_the_same_job_in_another_folder_is_the_same_job(tmp_path: Path) -> None:
    assert job(tmp_path / "a", "true").digest == job(tmp_path / "b", "true").digest
    assert job(tmp_path / "a", "true").digest != job(tmp_path / "a", "false").digest


def test_what_was_killed_without_a_word_is_lost_and_its_log_can_be_read(client: LocalClient, tmp_path: Path) -> None:
    workload = client.submit(job(tmp_path / "job", "echo said; exec sleep 60"), NAME)
    until(client, workload, JobState.RUNNING)
    os.killpg(int(workload.id), signal.SIGKILL)
    assert until(client, workload, JobState.LOST) is JobState.LOST
    assert list(client.log(workload, client.pods(workload)[0])) == ["said"]


def test_a_number_that_has_become_another_process_is_not_the_job(client: LocalClient, tmp_path: Path) -> None:
    workload = client.submit(job(tmp_path / "job", "exec sleep 60"), NAME)
    until(client, workload, JobState.RUNNING)
    os.killpg(int(workload.id), signal.SIGKILL)
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        for path in (tmp_path / "home" / NAME / "process", tmp_path / "job" / "pid"):
            path.write_text(f"{other.pid}\n", encoding="utf-8")
        assert until(client, workload, JobState.LOST) is JobState.LOST
        client.cancel(workload)
        assert other.poll() is None
        other.kill()


def test_a_job_that_does_not_heed_sigterm_is_killed(
    client: LocalClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE_S", 0.5)
    body = f"trap '' TERM; {sys.executable} -c 'import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)'"
    workload = client.submit(job(tmp_path / "job", body), NAME)
    until(client, workload, JobState.RUNNING)
    client.cancel(workload)
    assert client.look(workload).state is JobState.CANCELLED
    ended = os.waitid(os.P_PID, int(workload.id), os.WEXITED)
    assert ended is not None
    assert ended.si_status == signal.SIGKILL


def test_what_the_client_said_is_shown_where_the_job_never_began(client: LocalClient, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    workload = client.submit(request(["sh", "-c", "echo no such module; exit 1"], tmp_path / "job"), NAME)
    until(client, workload, JobState.LOST)
    assert list(client.log(workload, "job")) == ["no such module"]
