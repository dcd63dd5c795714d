from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.slurm import request as request_module
from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask
from nemo_runspec.platforms.slurm.request import request
from nemo_runspec.platforms.workload import NAME, Tree
from tests.nemo_runspec.platforms.slurm.standins import NAMED, run_job

if TYPE_CHECKING:
    from nemo_runspec.platforms.workload import JobFiles, Request

TASKS = (SlurmTask(),)
SHOW = b'env -0 >"$NEMO_RUNSPEC_JOB_DIR/seen"\n'
REMOTE = Path(request_module.__file__).with_name("remote")

NAMES = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
    # Such as a script may use for itself, and such as bash has.
    st.sampled_from(["launch", "attempt", "own", "exits", "code", "label", "name", "program", "secrets"]),
    st.sampled_from(["lower", "BASH_ENV", "IFS", "RANDOM", "UID", "SHELLOPTS", "_", "PWD", "SLURM_X", "LC_ALL", "PS4"]),
)
VALUES = st.one_of(
    st.text(st.one_of(st.sampled_from("$`'\"\\ \n\r\t\x01\x7fé漢!"), st.characters()), max_size=40),
    st.sampled_from(["$(touch canary)", "'\n touch canary\n'", "`touch canary`", NAME, ""]),
)


def files(text: bytes) -> JobFiles:
    return {"launch.sh": (text, False)}


def ask(root: Path, text: bytes = b"exit 0\n", **more: Any) -> Request:  # noqa: ANN401 - whatever `request` takes
    asked = {"env": {}, "files": files(text), **more}
    job = SlurmJob(home=str(root / "home"), tasks=TASKS)
    return request(job, **asked)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(env=st.dictionaries(NAMES, VALUES, max_size=5), secrets=st.dictionaries(NAMES, VALUES, max_size=2))
def test_every_variable_reaches_the_program_as_it_is_or_is_refused(
    env: dict[str, str], secrets: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            asked = ask(root, SHOW, env=env, secrets=secrets)
        except ProfileError:
            return
        run = run_job(asked, root / "run")
        assert run.code == 0, run.said
        seen = dict(entry.split("=", 1) for entry in (run.folder / "seen").read_bytes().decode().split("\0")[:-1])
        expected = {name: value.replace(NAME, NAMED) for name, value in env.items()} | secrets
        assert {name: seen.get(name) for name in expected} == expected
        assert list(root.rglob("canary")) == []
        assert not (run.folder / "secrets.sh").exists()


def test_secrets_are_in_no_log_whatever_setup_lines_switch_on(tmp_path: Path) -> None:
    job = SlurmJob(home=str(tmp_path / "home"), tasks=TASKS, setup_lines="set -xv; export SHELLOPTS")
    run = run_job(request(job, files=files(b"exit 0\n"), env={}, secrets={"TOKEN": "s3cret"}), tmp_path / "run")
    assert run.code == 0
    assert "nemo_start" in run.said
    assert "s3cret" not in run.said


def test_a_jobs_variables_are_its_programs_alone(tmp_path: Path) -> None:
    run = run_job(ask(tmp_path, b"exit 3\n", env={"PATH": "/nowhere"}), tmp_path / "run")
    assert (run.code, run.told("exit/task-0.0")) == (3, "3")


@pytest.mark.parametrize(("noted", "then"), [("", "7"), ("8\n", "8")])
def test_a_job_notes_its_number_where_its_submission_could_not(tmp_path: Path, noted: str, then: str) -> None:
    folder = tmp_path / "home" / "jobs" / NAMED
    folder.mkdir(parents=True)
    (folder / ".jobid").write_text(noted, encoding="ascii")
    assert run_job(ask(tmp_path), tmp_path / "run").told(".jobid") == then


def test_the_body_says_what_the_job_is_and_holds_no_secret(tmp_path: Path) -> None:
    tree = Tree("ab" * 32, b"")
    asked = ask(tmp_path, env={"b": "2", "a": NAME}, secrets={"TOKEN": "s3cret"}, source=tree, after=("12",))
    assert (asked.platform, asked.kind, asked.after, asked.source) == ("slurm", "job", ("12",), tree)
    assert asked.secrets == (("TOKEN", "s3cret"),)
    assert asked.body["environment"] == {"a": NAME, "b": "2"}
    assert asked.body["source"] == "ab" * 32
    names = ["batch.sh", "environment.sh", "job.sbatch", "launch.sh", "task.sh"]
    assert list(asked.body["files"]) == sorted(asked.files) == names
    assert asked.body["sbatch"].encode() == asked.files["job.sbatch"][0]
    assert b"s3cret" not in b"".join(content for content, _ in asked.files.values())
    assert "s3cret" not in str(asked.body)
    assert asked.digest == ask(tmp_path, env={"a": NAME, "b": "2"}, secrets={"TOKEN": "other"}, source=tree).digest


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"files": {}}, "no file 'launch.sh'"),
        ({"files": {**files(b""), "batch.sh": (b"", False)}}, "'batch.sh' is this library's own"),
        ({"env": {"A": "1"}, "secrets": {"A": "2"}}, "'A' is set 2 times"),
        ({"env": {"SLURM_X": "1"}}, "Slurm's own"),
        ({"env": {"A": "\udc80"}}, "no UTF-8"),
        ({"env": {"A": "a\0b"}}, "NUL"),
    ],
)
def test_what_no_job_can_have_is_told(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        ask(tmp_path, **more)


def test_a_job_of_a_pipeline_has_no_dependency_of_its_own(tmp_path: Path) -> None:
    job = SlurmJob(home=str(tmp_path), tasks=TASKS, options=(("dependency", "singleton"),))
    assert "--dependency=singleton" in request(job, files=files(b""), env={}).body["sbatch"]
    with pytest.raises(ProfileError, match="waits for another one"):
        request(job, files=files(b""), env={}, after=("7",))


@pytest.mark.parametrize("script", ["batch.sh", "task.sh"])
def test_what_runs_on_nodes_is_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(REMOTE / script)], check=True)  # noqa: S607 - the bash of whoever runs the tests


@pytest.mark.parametrize("code", [0, 3, 137, 143])
def test_a_jobs_code_is_its_programs(tmp_path: Path, code: int) -> None:
    run = run_job(ask(tmp_path, b"exit %d\n" % code), tmp_path / "run", dependents="12\nx;touch canary\n13")
    assert (run.code, run.told("exit/job.0"), run.told("exit/task-0.0")) == (code, str(code), str(code))
    assert run.cancelled == (() if code == 0 else ("--state=PENDING 12",))


def test_a_second_attempt_has_files_of_its_own(tmp_path: Path) -> None:
    asked = ask(tmp_path, b"echo $MASTER_ADDR $NODE_RANK $NNODES; exit 4")
    run = run_job(asked, tmp_path / "run", SLURM_RESTART_COUNT="2")
    assert (run.told("exit/job.2"), run.told("exit/task-0.2"), run.told("exit/job.0")) == ("4", "4", None)
    assert run.told("logs/batch.2.log") == "node-a 0 1"
    assert "--output=" + str(run.folder / "logs/task-%t.2.log") in run.steps[0]


def test_where_slurm_is_stopping_the_job_its_own_state_tells(tmp_path: Path) -> None:
    run = run_job(ask(tmp_path, secrets={"A": "b"}), tmp_path / "run", STATE="COMPLETING")
    assert (run.code, run.told("exit/job.0"), run.told("exit/task-0.0")) == (143, None, "0")
    assert (run.folder / "secrets.sh").exists()


def test_without_an_answer_of_slurm_the_code_is_written(tmp_path: Path) -> None:
    assert run_job(ask(tmp_path, b"exit 3"), tmp_path / "run", STATE="").told("exit/job.0") == "3"


def test_setup_lines_that_end_the_script_fail_the_job(tmp_path: Path) -> None:
    for number, (lines, code) in enumerate([("exit 0", 1), ("set -e\nfalse", 1), ("exit 5", 5)]):
        job = SlurmJob(home=str(tmp_path / f"home{number}"), tasks=TASKS, setup_lines=lines)
        run = run_job(request(job, files=files(b""), env={}, secrets={"A": "b"}), tmp_path / f"run{number}")
        assert (run.code, run.told("exit/job.0"), run.steps) == (code, str(code), ())
        assert "setup_lines end it" in run.said
        assert not (run.folder / "secrets.sh").exists()


def test_setup_lines_tidy_up_at_the_end(tmp_path: Path) -> None:
    job = SlurmJob(home=str(tmp_path / "home"), tasks=TASKS, setup_lines="trap 'echo tidied up' EXIT")
    run = run_job(request(job, files=files(b"exit 3\n"), env={}), tmp_path / "run")
    assert (run.code, run.told("exit/job.0"), run.said.splitlines()[-1]) == (3, "3", "tidied up")


def test_what_setup_lines_switch_on_changes_nothing(tmp_path: Path) -> None:
    lines = "set -eufxC; IFS=0; shopt -s failglob nullglob; trap 'exit 9' ERR; export FROM_SETUP=1"
    job = SlurmJob(home=str(tmp_path / "home"), tasks=TASKS, setup_lines=lines)
    run = run_job(request(job, files=files(b"echo from=$FROM_SETUP; exit 6\n"), env={}), tmp_path / "run")
    assert (run.code, run.told("exit/job.0")) == (6, "6"), run.said
    assert "from=1" in run.said


def test_secrets_that_are_gone_are_told(tmp_path: Path) -> None:
    asked = ask(tmp_path, b"exit 0\n", secrets={"A": "b"})
    job = SlurmJob(home=str(tmp_path / "home"), tasks=TASKS, setup_lines=f"rm {tmp_path}/home/jobs/{NAME}/secrets.sh")
    gone = request(job, files=files(b"exit 0\n"), env={}, secrets={"A": "b"})
    assert asked.body["home"] == gone.body["home"]
    run = run_job(gone, tmp_path / "run")
    assert run.code == 1
    assert "secrets.sh is gone" in run.said


def test_of_several_tasks_the_first_that_fails_ends_the_others(tmp_path: Path) -> None:
    tasks = (SlurmTask(name="a", launch="a.sh"), SlurmTask(name="b", launch="b.sh"))
    job = SlurmJob(home=str(tmp_path / "home"), tasks=tasks)
    texts = {"a.sh": (b"exec sleep 50\n", False), "b.sh": (b"exit 5\n", False)}
    run = run_job(request(job, files=texts, env={}), tmp_path / "run")
    assert (run.code, run.told("exit/job.0"), run.told("exit/task-b-0.0")) == (5, "5", "5")
    assert run.told("exit/task-a-0.0") in (None, "143")
    assert len(run.steps) == 2


def test_several_tasks_that_succeed_have_ports_of_their_own(tmp_path: Path) -> None:
    tasks = (SlurmTask(name="a"), SlurmTask(name="b"))
    job = SlurmJob(home=str(tmp_path / "home"), tasks=tasks)
    run = run_job(request(job, files=files(b"echo port $MASTER_PORT\n"), env={}), tmp_path / "run")
    assert (run.code, run.told("exit/job.0")) == (0, "0"), run.said
    ports = [int(line.split()[1]) for line in run.said.splitlines() if line.startswith("port ")]
    assert sorted(ports) == [20_056, 20_057]


def test_a_port_that_something_listens_on_is_passed_over(tmp_path: Path) -> None:
    for number in range(901, 1400):  # the first one whose port nobody else has
        try:
            server = socket.create_server(("127.0.0.1", 20_000 + number * 8))
        except OSError:
            continue
        with server:
            run = run_job(ask(tmp_path, b"echo port $MASTER_PORT\n"), tmp_path / "run", SLURM_JOB_ID=str(number))
        assert f"port {20_000 + number * 8 + 1}\n" in run.said
        return
    pytest.fail("no free port")


def _stopped(root: Path, shown: str) -> tuple[str | None, bool]:
    # The tasks are children of the script: the second is the first one's.
    stop = b'kill -TERM "$(ps -o ppid= -p $PPID | tr -d " ")"; sleep 1; exit 7\n'
    run = run_job(ask(root, stop, secrets={"A": "b"}), root / "run", SHOWN=shown)
    return run.told("exit/job.0"), (run.folder / "secrets.sh").exists()


def test_a_script_that_is_told_to_stop_asks_slurm_what_that_means(tmp_path: Path) -> None:
    line = "JobId=7 JobState={} Reason=None Restarts={} PreemptTime={} x"
    running = line.format("RUNNING", 0, "None")
    stopping = line.format("COMPLETING", 0, "None")
    again = line.format("COMPLETING", 1, "None")
    preempted = line.format("RUNNING", 0, "2026-01-01T00:00:00")
    assert _stopped(tmp_path / "by-its-user", running) == ("7", False)
    assert _stopped(tmp_path / "for-good", stopping) == ("7", False)
    assert _stopped(tmp_path / "preempted", preempted) == (None, True)
    # squeue says RUNNING to all of them here; what it says otherwise is tried above.
    assert _stopped(tmp_path / "again", again)[0] == "7"
