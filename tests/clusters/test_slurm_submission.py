"""Rows of the fault matrix that are about submitting, checked on a real Slurm's own record."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, RefusedError, UnreachableError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.names import new_token
from nemo_runspec.platforms.shell.openssh import SshShell
from nemo_runspec.platforms.slurm.submission import find, submit
from nemo_runspec.platforms.workload import NAME, Request, Tree
from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import command
from tests.clusters.beds.sshd import SshBed
from tests.clusters.test_shell import host_of
from tests.guardrails.checkout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.platforms.workload import Submitted
    from tests.clusters.beds.slurm import SlurmBed

_SCRIPT = f"""\
#!/bin/bash
#SBATCH --job-name={NAME}
#SBATCH --comment={NAME}
#SBATCH --output=logs/batch.log
cd code && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum > ../exit/digest
"""
CANARY = "canary-71c0ffee"


def a_tree(count: int = 12, size: int = 50_000) -> Tree:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"pkg/file {number:02}.py")
            member.size = size
            tar.addfile(member, io.BytesIO(os.urandom(size)))
    return Tree(hashlib.sha256(archive.getvalue()).hexdigest(), archive.getvalue())


def a_request(source: Tree | None = None) -> Request:
    files = {"job.sbatch": (_SCRIPT.encode(), False)}
    return Request("slurm", "job", {}, files=files, secrets=(("HF_TOKEN", CANARY),), source=source)


@dataclass(frozen=True)
class Cluster:
    """A login node, and what a launcher has on its side."""

    bed: SlurmBed
    login: SshBed
    shell: SshShell
    home: Path
    sources: Path

    def submit(self, name: str, made: Request, deadline_s: float = 60) -> Submitted:
        patience = Patience(deadline_s=deadline_s)
        return submit(self.shell, str(self.home), self.sources, made, name, patience=patience)

    def jobs(self, name: str) -> list[str]:
        """Give the numbers of the jobs of this name, as Slurm itself has them."""
        return [job["id"] for job in self.bed.jobs() if job["name"] == name]

    def ran_whole(self, job: Submitted, source: Tree) -> bool:
        """Tell whether a job, which ends now, has seen its source as it was sent."""
        assert self.bed.wait_for(job.id, seconds=60) == "COMPLETED"
        told = (self.home / "jobs" / job.name / "exit" / "digest").read_text(encoding="ascii")
        with tarfile.open(fileobj=io.BytesIO(source.tar)) as tar:
            files = sorted((f"./{member.name}", tar.extractfile(member)) for member in tar)
            lines = [f"{hashlib.sha256(file.read()).hexdigest()}  {name}\n" for name, file in files if file is not None]
        return told.split()[0] == hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def cluster_of(bed: SlurmBed, login: SshBed, sources: Path) -> Iterator[Cluster]:
    shell = SshShell(host_of(login))
    yield Cluster(bed, login, shell, bed.work / f"jobs of [it's] {new_token()}", sources)
    shell.close()


@pytest.fixture
def cluster(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> Iterator[Cluster]:
    with cluster_of(slurm, sshd, tmp_path / "sources") as made:
        yield made


@pytest.fixture
def name() -> str:
    return f"row-{new_token()}"


@pytest.mark.parametrize("fault", ["refused", "stranger", "unknown host"])
def test_row_1_nothing_is_made_where_nobody_gets_in(cluster: Cluster, name: str, fault: str) -> None:
    host = host_of(cluster.login)
    change = {
        "refused": replace(host, port=1, known_hosts=None),
        "stranger": replace(host, identity=str(cluster.login.stranger)),
        "unknown host": replace(host, known_hosts=None),
    }
    outside = replace(cluster, shell=SshShell(change[fault]))
    with pytest.raises(UnreachableError if fault == "refused" else DeniedError):
        outside.submit(name, a_request(a_tree()))
    outside.shell.close()
    assert not cluster.home.exists()
    assert cluster.jobs(name) == []


def test_row_2_nothing_is_submitted_before_the_source_is_there(cluster: Cluster, name: str) -> None:
    source = a_tree()
    with ChaosProxy((cluster.login.host, cluster.login.port)) as proxy:
        cut = replace(cluster, shell=SshShell(host_of(cluster.login, proxy.port)))
        proxy.fault = Fault("reset", after=300_000)
        with pytest.raises(UnreachableError):
            cut.submit(name, a_request(source), deadline_s=0.1)
        assert not (cluster.home / "sources" / source.sha256).exists()
        assert cluster.jobs(name) == []
        assert list((cluster.home / "jobs").iterdir()) == []
        part = cluster.home / "sources" / f".{source.sha256}.part"
        assert any(part.rglob("*.py"))
        proxy.fault = Fault("reset", after=300_000, connection=proxy.connections + 1)
        job = cut.submit(name, a_request(source))
        assert proxy.struck >= 2
        cut.shell.close()
    assert cluster.ran_whole(job, source)
    assert cluster.jobs(name) == [job.id]


@pytest.mark.parametrize(("inodes", "place"), [(20, "sources"), (60, "jobs")])
def test_row_3_a_full_workspace_is_told_and_left_clean(cluster: Cluster, name: str, inodes: int, place: str) -> None:
    source = a_tree(count=40, size=10)
    small = cluster.bed.work / f"small-{new_token()}"
    small.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size=8m,nr_inodes={inodes}", "none", str(small))
    try:
        command("chown", cluster.bed.user, str(small))
        small.chmod(0o700)
        full = replace(cluster, home=small)
        with pytest.raises(RefusedError, match=f"{small}.* cannot be written: .*No space left on device") as told:
            full.submit(name, a_request(source))
        assert (place == "sources") == ("/sources/" in told.value.message.partition(" cannot")[0])
        assert cluster.jobs(name) == []
        assert list((small / "jobs").iterdir()) == []
        command("mount", "-o", "remount,nr_inodes=1000", str(small))
        job = full.submit(name, a_request(source))
        assert cluster.jobs(name) == [job.id]
        assert len(list((small / "jobs" / name / "code" / "pkg").iterdir())) == 40
    finally:
        command("umount", "--lazy", str(small))


@pytest.mark.parametrize("fault", ["sbatch_drop", "sbatch_timeout"])
def test_rows_5_and_6_a_lost_reply_is_no_second_job(cluster: Cluster, name: str, fault: str) -> None:
    source = a_tree()
    cluster.bed.arm(fault)
    job = cluster.submit(name, a_request(source))
    assert not cluster.bed.armed(fault)
    assert cluster.jobs(name) == [job.id]
    assert cluster.submit(name, a_request(source)) == job
    assert cluster.ran_whole(job, source)


def test_row_5_without_accounting(slurm_plain: SlurmBed, name: str, tmp_path: Path) -> None:
    login = SshBed.start(slurm_plain.user, slurm_plain.environment)
    try:
        with cluster_of(slurm_plain, login, tmp_path / "sources") as cluster:
            slurm_plain.arm("sbatch_drop")
            job = cluster.submit(name, a_request())
            assert cluster.jobs(name) == [job.id]
            assert find(cluster.shell, str(cluster.home), f"{name}-x") is None
    finally:
        login.stop()


def test_row_7_a_frozen_controller_has_taken_the_job(cluster: Cluster, name: str) -> None:
    cluster.submit(f"{name}-before", a_request())
    cluster.bed.freeze_controller()
    try:
        with pytest.raises(UnreachableError, match="not known whether the job"):
            cluster.submit(name, a_request(), deadline_s=0.1)
        with pytest.raises(UnreachableError):
            find(cluster.shell, str(cluster.home), name)
    finally:
        cluster.bed.thaw_controller()
    job = cluster.submit(name, a_request())
    assert cluster.jobs(name) == [job.id]


def test_row_7_a_controller_that_is_away_is_waited_for(cluster: Cluster, name: str) -> None:
    cluster.bed.stop_controller()
    back = threading.Timer(5, cluster.bed.start_controller)
    back.start()
    try:
        job = cluster.submit(name, a_request())
    finally:
        back.join()
    assert cluster.jobs(name) == [job.id]


def test_row_13_many_submissions_of_one_name_are_one_job(cluster: Cluster, name: str) -> None:
    source = a_tree()
    calls = cluster.bed.calls("sbatch")
    found: list[Submitted] = []

    def one() -> None:
        shell = SshShell(host_of(cluster.login))
        found.append(replace(cluster, shell=shell).submit(name, a_request(source)))
        shell.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert {job.id for job in found} == set(cluster.jobs(name))
    assert len(cluster.jobs(name)) == 1
    assert cluster.bed.calls("sbatch") - calls == 1
    assert cluster.ran_whole(found[0], source)


# Submits like the tests do, and kills itself when a script is about to be run, has begun, or has been run.
_KILLED = """
import os, signal, sys
from hashlib import sha256
from pathlib import Path
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.openssh import SshShell
from nemo_runspec.platforms.shell.program import Run
from nemo_runspec.platforms.slurm.submission import submit
from nemo_runspec.platforms.workload import Tree
from tests.clusters.test_slurm_submission import a_request
host, home, sources, name, script, moment = sys.argv[1:]
tar = sys.stdin.buffer.read()
bash, error, now = SshShell.bash, Run.error, [""]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def call(self, path, *words, **options):
    now[0] = path.stem
    if (path.stem, moment) == (script, "before"):
        die()
    answer = bash(self, path, *words, **options)
    if (path.stem, moment) == (script, "after"):
        die()
    return answer
def heard(self, piece):
    error(self, piece)
    if self.started and (now[0], moment) == (script, "during"):
        die()
SshShell.bash, Run.error = call, heard
submit(SshShell(eval(host)), home, Path(sources), a_request(Tree(sha256(tar).hexdigest(), tar)), name)
"""


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@pytest.mark.parametrize("script", ["prepare", "source", "submit"])
def test_row_11_a_killed_client_leaves_one_job_or_none(cluster: Cluster, name: str, script: str, moment: str) -> None:
    source = a_tree()
    killed = killed_client(cluster, name, source, script, moment)
    assert killed == -signal.SIGKILL
    found = find(cluster.shell, str(cluster.home), name)
    if (script, moment) == ("submit", "after"):
        assert found is not None
    if found is None:
        assert not (cluster.home / "jobs" / name).exists()
        assert cluster.jobs(name) == []
    job = cluster.submit(name, a_request(source))
    assert found in {None, job}
    assert cluster.jobs(name) == [job.id]
    assert cluster.ran_whole(job, source)


def killed_client(cluster: Cluster, name: str, source: Tree, script: str, moment: str) -> int:
    """Run a client that kills itself, and give its exit code."""
    words = (repr(host_of(cluster.login)), str(cluster.home), str(cluster.sources), name, script, moment)
    argv = [sys.executable, "-c", _KILLED, *words]
    environment = {**os.environ, "TMPDIR": str(cluster.sources.parent)}
    return subprocess.run(argv, input=source.tar, check=False, timeout=120, cwd=ROOT, env=environment).returncode


def test_secrets_are_in_one_file_alone(cluster: Cluster, name: str) -> None:
    cluster.submit(name, a_request(a_tree()))
    with_secret = [path for path in cluster.home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert with_secret == [cluster.home / "jobs" / name / "secrets.sh"]
    assert with_secret[0].stat().st_mode & 0o777 == 0o600
