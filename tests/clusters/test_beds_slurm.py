"""The Slurm that other tests run against is real: it runs jobs, limits them, disturbs them, and goes away wholly."""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds import images, reaper
from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import command, wait_until
from tests.clusters.beds.slurm import PROGRAMS, REACHABLE, SlurmBed
from tests.clusters.conftest import require_beds

if TYPE_CHECKING:
    from tests.clusters.beds.sshd import SshBed

ROOT = Path(__file__).resolve().parents[2]
TIMED_OUT = "Socket timed out on send/recv operation"


def _log(bed: SlurmBed, job: str) -> str:
    return (bed.work / f"slurm-{job}.out").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(slurm: SlurmBed) -> str:
    """Give the option that names an image, which sets INSIDE."""
    slurm.publish("bed/busybox:1", images.archive(images.BUSYBOX), INSIDE="image")
    slurm.run("enroot", "import", "--output", "busybox.sqsh", "docker://bed/busybox:1")
    return f"--container-image={slurm.work}/busybox.sqsh"


def test_a_job_of_an_ordinary_user_keeps_its_exit_code(slurm: SlurmBed) -> None:
    job = slurm.submit("id --user --name\nexit 3", "--comment=a key", "--job-name=named")
    assert slurm.wait_for(job) == "FAILED"
    assert slurm.exit_code(job) == "3:0"
    assert _log(slurm, job) == f"{slurm.user}\n"
    (row,) = (row for row in slurm.jobs() if row["id"] == job)
    assert row == {"id": job, "name": "named", "comment": "a key", "state": "FAILED", "user": slurm.user}


def test_two_nodes_have_names_addresses_and_gpus_of_their_own(slurm: SlurmBed) -> None:
    show = 'echo $(hostname) $(getent hosts $(hostname) | cut -d" " -f1) $CUDA_VISIBLE_DEVICES'
    job = slurm.submit(f"srun --label sh -c '{show}'", "--nodes=2", "--gpus-per-node=3")
    assert slurm.wait_for(job) == "COMPLETED"
    lines = sorted(line.split() for line in _log(slurm, job).splitlines())
    assert [(label, name, gpus) for label, name, _, gpus in lines] == [("0:", "n1", "0,1,2"), ("1:", "n2", "0,1,2")]
    assert lines[0][2] != lines[1][2]


def test_more_gpus_than_there_are_is_refused(slurm: SlurmBed) -> None:
    done = slurm.run("sbatch", "--gpus-per-node=9", "--wrap=true", check=False)
    assert done.returncode == 1
    assert "Requested node configuration is not available" in done.stderr


def test_memory_is_limited(slurm: SlurmBed) -> None:
    if "memory" not in slurm.controllers:
        pytest.skip("this machine has no control group of memory of the first version")
    job = slurm.submit("exec python3 -c 'x = bytearray(200 << 20)'", "--mem=50M")
    assert slurm.wait_for(job) == "OUT_OF_MEMORY"


def test_nothing_outlives_a_cancelled_job(slurm: SlurmBed) -> None:
    job = slurm.submit("setsid sleep 298.1 & sleep 298.2")
    slurm.wait_for(job, "RUNNING")
    wait_until(lambda: len([line for line in slurm.leftovers() if line.startswith("sleep 298")]) == 2, 10, "two naps")
    slurm.run("scancel", job)
    assert slurm.wait_for(job) == "CANCELLED"
    wait_until(lambda: not any("sleep 298" in line for line in slurm.leftovers()), 20, "end of the naps")


def test_a_container_sees_its_image_and_its_mounts_only(slurm: SlurmBed, image: str) -> None:
    slurm.run("sh", "-c", "mkdir data && echo hello >data/file")
    mounts = f"--container-mounts={slurm.work}/data:/in:ro,{slurm.work}/data:/out"
    body = "pwd; cat file; echo $INSIDE; id -un; echo out >/out/new; ls /; echo in >/in/refused"
    done = slurm.run("srun", image, mounts, "--container-workdir=/in", "sh", "-c", body, check=False)
    assert done.returncode == 1
    words = done.stdout.split()
    assert words[:4] == ["/in", "hello", "image", slurm.user]
    assert "home" not in words
    assert "/in/refused: Read-only file system" in done.stderr
    assert (slurm.work / "data/new").read_text(encoding="utf-8") == "out\n"
    (task,) = slurm.record()[-1:]
    assert task["options"] == {
        "container-image": f"{slurm.work}/busybox.sqsh",
        "container-mounts": mounts.partition("=")[2],
        "container-workdir": "/in",
    }


def test_the_tasks_of_a_step_share_a_container_which_goes_with_it(slurm: SlurmBed, image: str) -> None:
    body = "touch /tmp/$SLURM_PROCID; until [ -e /tmp/$((1 - SLURM_PROCID)) ]; do sleep 0.05; done"
    slurm.run("srun", "--ntasks=2", "--nodes=1", image, "sh", "-c", body, timeout_s=20)
    assert slurm.run("srun", image, "ls", "/tmp").stdout == ""  # noqa: S108 - the container's


def test_a_named_container_lasts_as_long_as_its_job(slurm: SlurmBed, image: str) -> None:
    script = f"srun {image} --container-name=mine touch /tmp/one\nsrun --container-name=mine ls /tmp"
    first = slurm.submit(script)
    assert slurm.wait_for(first) == "COMPLETED"
    assert "one" in _log(slurm, first).split()
    second = slurm.submit("srun --container-name=mine true")
    assert slurm.wait_for(second) == "FAILED"
    assert "container does not exist" in _log(slurm, second)
    run = slurm.folder / "containers/run"
    wait_until(lambda: not [entry for entry in run.iterdir() if entry.is_dir()], 10, "empty folder of containers")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--container-mounts={folder}/db/x:/x", "couldn't mount: {folder}/db/x: Permission denied"),
        ("--container-mounts=/nowhere:/x", "couldn't mount: /nowhere: No such file or directory"),
        ("--container-mounts=/etc:/x:rx", "invalid mount flag: rx"),
        ("--container-workdir=/nowhere", "couldn't chdir to container cwd: /nowhere"),
        ("--container-image=nvcr.io#no/image:1", "failed to import docker image: nvcr.io#no/image:1"),
    ],
)
def test_what_a_container_cannot_have_is_said(slurm: SlurmBed, image: str, option: str, message: str) -> None:
    done = slurm.run("srun", image, option.format(folder=slurm.folder), "true", check=False)
    assert done.returncode == 1
    assert message.format(folder=slurm.folder) in done.stderr


def test_enroot_makes_a_file_once_and_knows_what_it_has(slurm: SlurmBed, image: str) -> None:
    assert image.endswith("/busybox.sqsh")
    again = slurm.run("enroot", "import", "-o", "busybox.sqsh", "docker://bed/busybox:1", check=False)
    assert (again.returncode, again.stderr) == (1, "[ERROR] File already exists: busybox.sqsh\n")
    unknown = slurm.run("enroot", "import", "docker://nvcr.io#no/image:1", check=False)
    assert unknown.returncode == 1
    assert "[ERROR] URL https://nvcr.io/v2/no/image/manifests/1 returned error code: 404 Not Found" in unknown.stderr


def test_a_requeued_job_runs_again(slurm: SlurmBed) -> None:
    job = slurm.submit('echo attempt $SLURM_RESTART_COUNT\n[ -n "$SLURM_RESTART_COUNT" ] || sleep 297', "--requeue")
    slurm.wait_for(job, "RUNNING")
    wait_until(lambda: _log(slurm, job) == "attempt\n", 10, "first attempt")
    slurm.run("scontrol", "requeue", job, user="root")
    assert slurm.wait_for(job, seconds=40) == "COMPLETED"
    assert _log(slurm, job).splitlines()[-1] == "attempt 1"


def test_an_urgent_job_requeues_a_preemptible_one(slurm: SlurmBed) -> None:
    everything = ("--nodes=2", "--exclusive")
    low = slurm.submit("sleep 297", *everything, "--partition=preemptible", "--requeue")
    slurm.wait_for(low, "RUNNING")
    high = slurm.submit("true", *everything, "--partition=urgent")
    assert slurm.wait_for(high) == "COMPLETED"
    assert slurm.state(low) in {"PENDING", "REQUEUED", "COMPLETING"}
    slurm.run("scancel", low)
    slurm.wait_for(low)


def test_a_frozen_controller_has_accepted_what_it_did_not_answer(slurm: SlurmBed) -> None:
    slurm.freeze_controller()
    try:
        done = slurm.run("sbatch", "--job-name=unanswered", "--wrap=true", check=False)
    finally:
        slurm.thaw_controller()
    assert done.returncode == 1
    assert TIMED_OUT in done.stderr
    wait_until(lambda: [row["name"] for row in slurm.jobs()].count("unanswered") == 1, 10, "job")


def test_a_controller_knows_its_jobs_after_a_restart(slurm: SlurmBed) -> None:
    job = slurm.submit("until [ -e go-on ]; do sleep 0.1; done; exit 4")
    slurm.wait_for(job, "RUNNING")
    slurm.stop_controller()
    assert "is DOWN" in slurm.run("scontrol", "ping", check=False).stdout
    slurm.start_controller()
    assert slurm.state(job) == "RUNNING"
    slurm.run("touch", "go-on")
    assert slurm.wait_for(job) == "FAILED"
    assert slurm.exit_code(job) == "4:0"


def test_jobs_run_while_the_accounting_is_away_and_are_in_it_later(slurm: SlurmBed) -> None:
    slurm.stop_accounting()
    try:
        assert slurm.run("sacct", check=False).returncode == 1
        job = slurm.submit("exit 5")
        wait_until(lambda: "FAILED" in slurm.run("squeue", "-ht", "all", "-j", job, "-o", "%T").stdout, 10, "end")
    finally:
        slurm.start_accounting()
    # Its exit code follows after up to 20 s; until then it is told as 0:0, with an end that is unknown.
    wait_until(lambda: "FAILED" in slurm.run("sacct", "-nX", "-j", job, "-o", "State").stdout, 20, "job in sacct")


def test_a_node_is_lost_and_comes_back(slurm: SlurmBed) -> None:
    job = slurm.submit("sleep 296", "--nodelist=n2", "--no-requeue")
    slurm.wait_for(job, "RUNNING")
    slurm.lose_node("n2")
    try:
        assert slurm.wait_for(job, seconds=60) == "NODE_FAIL"
        assert any("sleep 296" in line for line in slurm.leftovers())
    finally:
        slurm.return_node("n2")
    again = slurm.submit("hostname", "--nodelist=n2")
    assert slurm.wait_for(again) == "COMPLETED"
    wait_until(lambda: not any("sleep 296" in line for line in slurm.leftovers()), 20, "end of the lost job")


def test_without_accounting_only_the_controller_knows(slurm_plain: SlurmBed) -> None:
    job = slurm_plain.submit("exit 6")
    assert slurm_plain.wait_for(job) == "FAILED"
    done = slurm_plain.run("sacct", "-j", job, check=False)
    assert done.returncode == 1
    assert "Slurm accounting storage is disabled" in done.stderr
    assert "ExitCode=6:0" in slurm_plain.run("scontrol", "show", "job", job).stdout


def test_two_beds_do_not_meet(slurm: SlurmBed, slurm_plain: SlurmBed) -> None:
    jobs = [(bed, bed.submit("exec sleep 295")) for bed in (slurm, slurm_plain)]
    for bed, job in jobs:
        bed.wait_for(job, "RUNNING")
        wait_until(lambda bed=bed: bed.leftovers() == ["sleep 295"], 10, "one nap")  # type: ignore[misc]
    for bed, job in jobs:
        bed.run("scancel", job)
        bed.wait_for(job)


class TestSsh:
    def test_commands_have_the_beds_programs(self, slurm: SlurmBed, sshd: SshBed) -> None:
        done = _ssh(sshd, "command -v sbatch; id -un; sbatch --parsable -o /dev/null --wrap true")
        *rest, job = done.stdout.split()
        assert rest == [f"{slurm.folder}/bin/sbatch", slurm.user]
        assert slurm.wait_for(job) == "COMPLETED"
        assert _ssh(sshd, "command -v sbatch", user="root").stdout == f"{slurm.folder}/bin/sbatch\n"

    def test_another_key_does_not_open(self, sshd: SshBed) -> None:
        came, entered = sshd.connections(), sshd.authentications()
        argv = [str(sshd.stranger) if word == str(sshd.identity) else word for word in sshd.command("true")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        assert (done.returncode, "Permission denied (publickey)" in done.stderr) == (255, True)
        assert (sshd.connections(), sshd.authentications()) == (came + 1, entered)

    def test_another_host_key_is_noticed(self, sshd: SshBed) -> None:
        sshd.change_host_key()
        try:
            done = _ssh(sshd, "true")
        finally:
            sshd.restore_host_key()
        assert done.returncode == 255
        assert "Host key verification failed" in done.stderr
        assert _ssh(sshd, "true").returncode == 0

    def test_a_server_that_is_away(self, sshd: SshBed) -> None:
        with subprocess.Popen(sshd.command("sleep", "294"), stderr=subprocess.PIPE) as connected:
            wait_until(lambda: bool(sshd.sessions()), 10, "session")
            sshd.stop_server()
            try:
                assert connected.wait(10) == 255
                assert "Connection refused" in _ssh(sshd, "true").stderr
            finally:
                sshd.start_server()
        assert _ssh(sshd, "true").returncode == 0

    @pytest.mark.parametrize(("fault", "code", "message"), [("drop", 255, "closed"), ("timeout", 1, TIMED_OUT)])
    def test_a_reply_is_lost_once(self, slurm: SlurmBed, sshd: SshBed, fault: str, code: int, message: str) -> None:
        calls = slurm.calls("sbatch")
        slurm.arm(f"sbatch_{fault}")
        done = _ssh(sshd, f"sbatch --job-name=lost-{fault} -o /dev/null --wrap true")
        assert (done.returncode, message in done.stderr) == (code, True)
        assert not slurm.armed(f"sbatch_{fault}")
        wait_until(lambda: [row["name"] for row in slurm.jobs()].count(f"lost-{fault}") == 1, 10, "job")
        assert _ssh(sshd, "sbatch -o /dev/null --wrap true").returncode == 0
        assert slurm.calls("sbatch") == calls + 2

    @pytest.mark.parametrize("kind", ["cut", "reset"])
    def test_a_connection_is_cut_on_its_way(self, sshd: SshBed, kind: str) -> None:
        with ChaosProxy((sshd.host, sshd.port)) as proxy:
            proxy.fault = Fault("cut" if kind == "cut" else "reset", after=100_000, connection=2)
            codes = [_upload(sshd, proxy.port, size) for size in (200_000, 200_000, 200_000)]
            assert (codes, proxy.connections, proxy.struck) == ([0, 255, 0], 3, 1)

    def test_a_connection_is_slow(self, sshd: SshBed) -> None:
        with ChaosProxy((sshd.host, sshd.port)) as proxy:
            proxy.delay_s = 0.1  # for each block, and a log-in alone is more than ten
            start = time.monotonic()
            assert _upload(sshd, proxy.port, 1000) == 0
            assert time.monotonic() - start > 1

    def test_a_connection_stalls(self, sshd: SshBed) -> None:
        with ChaosProxy((sshd.host, sshd.port)) as proxy:
            proxy.fault = Fault("stall", after=2_000, towards="client")
            with pytest.raises(subprocess.TimeoutExpired):
                _upload(sshd, proxy.port, 1000, timeout_s=1)


def _ssh(bed: SshBed, script: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(bed.command(script, user=user), capture_output=True, text=True, check=False, timeout=20)


def _upload(bed: SshBed, port: int, size: int, timeout_s: float = 20) -> int:
    argv = [str(port) if word == str(bed.port) else word for word in bed.command("cat >/dev/null")]
    argv[1:1] = ["-o", f"HostKeyAlias=[{bed.host}]:{bed.port}"]
    done = subprocess.run(argv, input=os.urandom(size), capture_output=True, check=False, timeout=timeout_s)
    return done.returncode


def _traces(suffix: str) -> set[str]:
    """Give the kinds of things that are there of one bed."""
    found = {"user" for entry in pwd.getpwall() if entry.pw_name == f"nemo{suffix}"}
    found |= {"folder" for _ in REACHABLE.glob(f"nemotron-bed-{suffix}")}
    found |= {"link" for _ in Path("/sys/class/net").glob(f"nemo*{suffix}*")}
    found |= {"namespace" for _ in Path("/run/netns").glob(f"nemo-{suffix}-*")}
    found |= {"group" for _ in Path("/sys/fs/cgroup").glob(f"*/bed{suffix}")}
    if suffix in Path("/proc/mounts").read_text(encoding="utf-8"):
        found.add("mount")
    if suffix in command("iptables", "--wait", "-S", "FORWARD"):
        found.add("rule")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if suffix.encode() in words and reaper.started(int(entry.name)) is not None:
            found.add("process")
    return found


def test_nothing_is_left_of_a_bed_that_was_stopped() -> None:
    require_beds(PROGRAMS)
    bed = SlurmBed.start()
    suffix = bed.user.removeprefix("nemo")
    try:
        bed.publish("busybox:1", images.archive(images.BUSYBOX))
        inside = bed.submit("srun --container-image=busybox:1 sleep 293")
        outside = bed.submit("setsid sleep 293 & sleep 293", user="root")
        for job in (inside, outside):
            bed.wait_for(job, "RUNNING")
        assert _traces(suffix) >= {"user", "folder", "link", "namespace", "rule", "process", "mount"}
        bed.freeze_controller()
    finally:
        bed.stop()
    assert _traces(suffix) == set()


def test_nothing_is_left_of_a_bed_whose_owner_was_killed() -> None:
    require_beds(PROGRAMS)
    program = """\
        import time
        from tests.clusters.beds.slurm import SlurmBed
        bed = SlurmBed.start(accounting=False)
        bed.submit("sleep 293")
        print(bed.user, flush=True)
        time.sleep(60)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        suffix = owner.stdout.readline().strip().removeprefix("nemo")
        assert "process" in _traces(suffix)
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not _traces(suffix), 20, "end of all that was started")


def test_make_cluster_gives_profiles_and_a_login_and_ends_with_ctrl_c() -> None:
    require_beds(PROGRAMS)
    argv = [sys.executable, "-m", "tests.clusters.beds", "--no-accounting"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdout is not None
        lines = [line.strip() for line in iter(cluster.stdout.readline, "Ctrl-C ends all of it.\n")]
        (env_file,) = (line.split()[1] for line in lines if line.startswith("Profiles:"))
        (login,) = (line for line in lines if line.startswith("ssh "))
        profiles = tomllib.loads(Path(env_file).read_text(encoding="utf-8"))
        assert [profiles[name]["tunnel"] for name in ("slurm-local", "slurm-ssh")] == ["local", "ssh"]
        words = [*shlex.split(login), "srun", "--nodes=2", "hostname"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
        assert sorted(done.stdout.split()) == ["n1", "n2"]
        cluster.send_signal(signal.SIGINT)
        assert cluster.wait(30) == 0
    assert _traces(Path(env_file).parent.name.removeprefix("nemotron-bed-")) == set()
