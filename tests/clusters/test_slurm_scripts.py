"""Jobs as the library writes them, on a real Slurm: values arrive, exit codes are the programs', secrets go."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.contents import SECRETS_FILE
from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask
from nemo_runspec.platforms.slurm.request import SBATCH_FILE, request
from nemo_runspec.platforms.workload import job_folder
from tests.clusters.beds.processes import wait_until
from tests.nemo_runspec.platforms.slurm.standins import lay_out

if TYPE_CHECKING:
    from tests.clusters.beds.slurm import SlurmBed

SECRET = {"TOKEN": "s3cr'et $x\n"}
PLACE = 'echo "$SLURM_PROCID $NODE_RANK/$NNODES $MASTER_ADDR $MASTER_PORT $(hostname)"'
NASTY = 'it\'s "$HOME" $(touch canary) `touch canary` \\ # ; é 漢'
_NUMBERS = itertools.count(1)


class Sent:
    """A job that was laid out by hand and submitted with the real sbatch, as the bed's ordinary user."""

    def __init__(self, bed: SlurmBed, job: SlurmJob, launch: dict[str, str], env: dict[str, str] | None = None) -> None:
        self.bed = bed
        name = f"script-{next(_NUMBERS):06d}"
        files = {file: (f"{text}\n".encode(), False) for file, text in launch.items()}
        self.folder = lay_out(request(job, files=files, env=env or {}, secrets=SECRET), name)
        for path in (self.folder, *self.folder.rglob("*"), *self.folder.relative_to(bed.work).parents):
            shutil.chown(bed.work / path, bed.user, bed.user)
        assert str(self.folder) == job_folder(job.home, name)
        self.name = name
        script = str(self.folder / SBATCH_FILE)
        self.id = bed.run("/usr/bin/sbatch", "--parsable", script).stdout.strip()

    def end(self, seconds: float = 40) -> str:
        return self.bed.wait_for(self.id, seconds=seconds)

    def told(self, file: str) -> str | None:
        path = self.folder / file
        return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else None

    def log(self, name: str = "task-0.0") -> str:
        return str(self.told(f"logs/{name}.log"))

    def wait_for(self, file: str, text: str, seconds: float = 40) -> None:
        wait_until(lambda: text in (self.told(file) or ""), seconds, f"{text} in {file}")

    @property
    def has_secrets(self) -> bool:
        return (self.folder / SECRETS_FILE).exists()


@pytest.fixture
def home(slurm: SlurmBed) -> str:
    return f"{slurm.work}/homes/{next(_NUMBERS)}"


def one(home: str, *options: tuple[str, str | int | bool], **task: object) -> SlurmJob:
    return SlurmJob(home=home, tasks=(SlurmTask(**task),), options=options)  # type: ignore[arg-type] # as a caller has it


def test_values_of_any_characters_arrive(slurm: SlurmBed, home: str) -> None:
    odd = f'{home}/100%j it\'s "$HOME"/nemo_run,é'
    job = one(odd, ("comment", NASTY), ("account", "research"))
    sent = Sent(
        slurm,
        job,
        {"launch.sh": 'printf %s "$lower"; printf "%s" "$TOKEN" >"$NEMO_RUNSPEC_JOB_DIR/secret"'},
        {"lower": f"{NASTY}\n'"},
    )
    (row,) = (row for row in slurm.jobs() if row["id"] == sent.id)
    assert (row["name"], row["comment"]) == (sent.name, NASTY)
    assert sent.end() == "COMPLETED"
    assert sent.log() == f"{NASTY}\n'"
    assert (sent.folder / "secret").read_text(encoding="utf-8") == SECRET["TOKEN"]
    assert list(slurm.work.rglob("canary")) == []


def test_two_nodes_with_two_tasks_each_meet_on_the_first(slurm: SlurmBed, home: str) -> None:
    sent = Sent(
        slurm,
        one(home, ("cpus-per-task", 3), nodes=2, tasks_per_node=2),
        {"launch.sh": f"{PLACE} $SLURM_CPUS_PER_TASK"},
    )
    assert sent.end() == "COMPLETED"
    lines = [sent.log(f"task-{number}.0").split() for number in range(4)]
    port = lines[0][3]
    assert [" ".join(line) for line in lines] == [
        f"0 0/2 n1 {port} n1 3",
        f"1 0/2 n1 {port} n1 3",
        f"2 1/2 n1 {port} n2 3",
        f"3 1/2 n1 {port} n2 3",
    ]
    assert [sent.told(f"exit/task-{number}.0") for number in range(4)] == ["0"] * 4
    assert (sent.told("exit/job.0"), sent.has_secrets) == ("0", False)


def test_a_programs_exit_code_is_the_jobs(slurm: SlurmBed, home: str) -> None:
    sent = Sent(slurm, one(home, nodes=2), {"launch.sh": '[ "$NODE_RANK" = 1 ] && exit 3; sleep 60'})
    assert sent.end() == "FAILED"
    assert slurm.exit_code(sent.id) == "3:0"
    assert (sent.told("exit/job.0"), sent.told("exit/task-1.0"), sent.has_secrets) == ("3", "3", False)


@pytest.mark.parametrize(("then", "code"), [("exit $?", "137"), ("exit 1", "1")])
def test_a_task_that_is_out_of_memory_is_told_whatever_its_code(
    slurm: SlurmBed, home: str, then: str, code: str
) -> None:
    greedy = f"set +e; python3 -c 'x = bytearray(300 << 20)'; {then}"
    sent = Sent(slurm, one(home, ("mem", "60M")), {"launch.sh": greedy})
    assert sent.end() == "FAILED"
    assert sent.told("exit/job.0") == f"{code}\nmemory"


def test_a_container_has_the_jobs_folder_and_the_mounts_that_were_asked_for(slurm: SlurmBed, home: str) -> None:
    # A root folder with nothing in it: its programs are this machine's, mounted.
    root = slurm.folder / "empty-image"
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "lib", "lib64"):
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    task = {"nodes": 2, "image": str(root), "mounts": ("/usr:/usr:ro", f"{slurm.work}:/data/it's")}
    sent = Sent(slurm, one(home, **task), {"launch.sh": 'pwd; echo "$NEMO_RUNSPEC_JOB_DIR"; ls -d /data/*; exit 4'})
    assert sent.end() == "FAILED"
    # The node that ends first ends the other one, which Slurm may tell in the log.
    assert sent.log().splitlines()[:3] == ["/nemo_run/code", "/nemo_run", "/data/it's"]
    assert sent.told("exit/job.0") == "4"
    record = slurm.record(sent.id)
    mounts = f"{sent.folder}:/nemo_run,/usr:/usr:ro,{slurm.work}:/data/it's"
    assert {entry["node"] for entry in record} == {"n1", "n2"}
    assert all(entry["options"]["container-mounts"] == mounts for entry in record), record


def test_several_tasks_run_together_and_succeed_together(slurm: SlurmBed, home: str) -> None:
    tasks = (SlurmTask(name="a", launch="a.sh", nodes=2), SlurmTask(name="b", launch="b.sh", tasks_per_node=2))
    # Each waits for the other, so that both must run at the same time.
    wait = 'until [ -e "$NEMO_RUNSPEC_JOB_DIR/%s" ]; do sleep 0.1; done'
    texts = {
        "a.sh": f'touch "$NEMO_RUNSPEC_JOB_DIR/a"; {wait % "b"}; {PLACE}',
        "b.sh": f'touch "$NEMO_RUNSPEC_JOB_DIR/b"; {wait % "a"}; {PLACE}',
    }
    sent = Sent(slurm, SlurmJob(home=home, tasks=tasks, options=(("gpus-per-node", 2),)), texts)
    assert sent.end() == "COMPLETED"
    files = sorted(path.name for path in (sent.folder / "logs").glob("task-*"))
    assert files == ["task-a-0.0.log", "task-a-1.0.log", "task-b-0.0.log", "task-b-1.0.log"]
    port_a, port_b = (sent.log(f"task-{name}-0.0").split()[3] for name in "ab")
    assert port_a != port_b
    assert sent.log("task-b-1.0").split() == ["1", "0/1", "n1", port_b, "n1"]


def test_of_several_tasks_one_that_fails_ends_the_others(slurm: SlurmBed, home: str) -> None:
    tasks = (SlurmTask(name="a", launch="a.sh", nodes=2), SlurmTask(name="b", launch="b.sh"))
    sent = Sent(slurm, SlurmJob(home=home, tasks=tasks), {"a.sh": "sleep 60", "b.sh": "sleep 1; exit 5"})
    assert sent.end() == "FAILED"
    assert (sent.told("exit/job.0"), sent.told("exit/task-b-0.0"), sent.has_secrets) == ("5", "5", False)


def test_two_jobs_on_one_node_have_ports_of_their_own(slurm: SlurmBed, home: str) -> None:
    sent = [Sent(slurm, one(home), {"launch.sh": f"{PLACE}; sleep 2"}) for _ in range(2)]
    assert [job.end() for job in sent] == ["COMPLETED"] * 2
    places = [job.log().split() for job in sent]
    assert places[0][2] == places[1][2]
    assert places[0][3] != places[1][3]


CAREFUL = "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.1; done"
"""A program that has something to do before it is stopped."""


def test_a_cancelled_job_tells_its_program_and_leaves_no_secret(slurm: SlurmBed, home: str) -> None:
    sent = Sent(slurm, one(home, nodes=2), {"launch.sh": CAREFUL})
    for number in (0, 1):
        sent.wait_for(f"logs/task-{number}.0.log", "up")
    slurm.run("scancel", sent.id)
    assert sent.end() == "CANCELLED"
    wait_until(lambda: not sent.has_secrets, 10, "end of the secrets")
    assert [sent.log(f"task-{number}.0").splitlines()[-1] for number in (0, 1)] == ["told", "told"]
    assert (sent.told("exit/job.0"), sent.told("exit/task-0.0")) == (None, "9")


@pytest.mark.parametrize("how", ["by hand", "by preemption"])
def test_a_job_that_is_started_again_keeps_its_secrets(slurm: SlurmBed, home: str, how: str) -> None:
    options = (("partition", "preemptible"), ("exclusive", True)) if how == "by preemption" else ()
    again = f'mkdir "$NEMO_RUNSPEC_JOB_DIR/again" || {{ printf "%s" "$TOKEN"; exit 4; }}; {CAREFUL}'
    sent = Sent(slurm, one(home, *options), {"launch.sh": again})
    sent.wait_for("logs/task-0.0.log", "up")
    if how == "by hand":
        slurm.run("scontrol", "requeue", sent.id)
    else:
        slurm.wait_for(slurm.submit("sleep 1", "--partition=urgent", "--nodes=2", "--exclusive"))
    sent.wait_for("exit/job.1", "4", seconds=90)
    assert sent.told("exit/job.0") is None
    assert sent.log("task-0.1").endswith(SECRET["TOKEN"].rstrip("\n"))
    assert (sent.end(), sent.has_secrets) == ("FAILED", False)


def test_a_signal_that_the_user_asks_for_reaches_the_program(slurm: SlurmBed, home: str) -> None:
    careful = CAREFUL.replace("TERM", "USR1")
    sent = Sent(slurm, one(home), {"launch.sh": careful})
    sent.wait_for("logs/task-0.0.log", "up")
    slurm.run("scancel", "--signal=USR1", sent.id)
    assert sent.end() == "FAILED"
    assert (sent.told("exit/job.0"), sent.log()) == ("9", "up\ntold")


def test_a_failed_job_takes_those_that_wait_for_it_with_it(slurm: SlurmBed, home: str) -> None:
    go = f"{slurm.work}/go"
    sent = Sent(slurm, one(home), {"launch.sh": f'until [ -e "{go}" ]; do sleep 0.1; done; exit 3'})
    waiting = slurm.submit("true", f"--dependency=afterok:{sent.id}", "--kill-on-invalid-dep=no")
    (sent.folder / "dependents").write_text(f"{waiting}\n", encoding="ascii")
    (slurm.work / "go").touch()
    assert (sent.end(), slurm.wait_for(waiting)) == ("FAILED", "CANCELLED")


@pytest.mark.slow
def test_a_job_that_is_out_of_time_leaves_the_word_to_slurm(slurm: SlurmBed, home: str) -> None:
    sent = Sent(slurm, one(home, ("time", "1")), {"launch.sh": CAREFUL})
    assert sent.end(seconds=150) == "TIMEOUT"
    wait_until(lambda: not sent.has_secrets, 10, "end of the secrets")
    assert (sent.told("exit/job.0"), sent.log().splitlines()[-1]) == (None, "told")
