"""Random schedules of submissions, looks and cancellations, while the line, the replies and Slurm itself fail.

The seed is printed; `SOAK_SEED=... pytest ...` gives the same schedule again.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import UnreachableError
from nemo_runspec.platforms.shell.openssh import SshShell
from nemo_runspec.platforms.slurm.status import look
from nemo_runspec.platforms.slurm.stopping import cancel
from nemo_runspec.platforms.workload import JobState
from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import wait_until
from tests.clusters.campaign import assert_invariants, on_slurm
from tests.clusters.cluster_projects import holding
from tests.clusters.test_shell import host_of
from tests.clusters.test_slurm_submission import CANARY, Cluster, a_request, a_tree, killed_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.platforms.workload import Submitted, Tree
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

SEED = "SOAK_SEED"
# How often each operation is chosen, relative to the others. A frozen controller takes ten seconds.
OPERATIONS = {"submit": 6, "status": 6, "cancel": 2, "kill": 2, "cut": 4, "lose reply": 4, "freeze": 1}
ALLOWED_S = 100.0
PATIENCE_S = 20.0


@dataclass
class Soak:
    """What is done, and what is known of the jobs that were asked for.

    Args:
        cluster: The cluster, whose shell goes through the proxy.
        proxy: The proxy.
        chosen: Where every choice comes from.
        names: Every name that was used, with the job where one is known.
        cancelled: Names whose jobs were cancelled.
    """

    cluster: Cluster
    proxy: ChaosProxy
    chosen: random.Random
    source: Tree
    names: dict[str, Submitted | None] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    done: list[tuple[str, str, float]] = field(default_factory=list)

    def step(self) -> None:
        """Do one operation of the schedule."""
        (operation,) = self.chosen.choices(list(OPERATIONS), list(OPERATIONS.values()))
        name = self._name(new=operation not in {"status", "cancel"})
        began = time.monotonic()
        {
            "submit": self.submit,
            "status": self.status,
            "cancel": self.cancel,
            "kill": self.kill,
            "cut": self.cut,
            "lose reply": self.lose_reply,
            "freeze": self.freeze,
        }[operation](name)
        seconds = time.monotonic() - began
        self.done.append((operation, name, seconds))
        assert seconds < ALLOWED_S, f"I8: {self.done}"

    def _name(self, *, new: bool) -> str:
        if not self.names or (new and self.chosen.random() < 0.5):
            self.names[f"soak-{self.chosen.randrange(36**6):06x}"] = None
        return self.chosen.choice(list(self.names))

    def submit(self, name: str, deadline_s: float = PATIENCE_S) -> None:
        """Submit a job; where one of this name is known, it is that one."""
        try:
            job = self.cluster.submit(name, a_request(self.source), deadline_s)
        except UnreachableError:
            return
        assert self.names[name] in {None, job}, f"I1: {self.names[name]} and {job}"
        self.names[name] = job

    def status(self, name: str) -> None:
        """Look at a job: of none that runs or has ended well anything else may be said."""
        job = self.names[name]
        if job is None:
            return
        seen = look(self.cluster.shell, str(self.cluster.home), job)
        assert seen.state not in {JobState.FAILED, JobState.LOST}, f"{name}: {seen}, {self.done}"
        assert seen.state is not JobState.CANCELLED or name in self.cancelled, f"{name}: {seen}"

    def cancel(self, name: str) -> None:
        job = self.names[name]
        if job is not None:
            self.cancelled.add(name)
            cancel(self.cluster.shell, str(self.cluster.home), job)

    def kill(self, name: str) -> None:
        """Have a client killed before, while or after one of its scripts runs."""
        script = self.chosen.choice(("prepare", "source", "submit"))
        killed_client(self.cluster, name, self.source, script, self.chosen.choice(("before", "during", "after")))

    def cut(self, name: str) -> None:
        kind = self.chosen.choice(("cut", "reset"))
        towards = self.chosen.choice(("server", "client"))
        self.proxy.fault = Fault(kind, after=self.chosen.randrange(60_000), towards=towards)  # type: ignore[arg-type] # chosen from the words that it takes
        self.submit(name, self.chosen.choice((0.1, 3.0)))
        self.status(name)
        self.proxy.fault = None

    def lose_reply(self, name: str) -> None:
        fault = self.chosen.choice(("sbatch_drop", "sbatch_timeout"))
        self.cluster.bed.arm(fault)
        self.submit(name, self.chosen.choice((0.1, PATIENCE_S)))
        # A job that is there already is not submitted again, and then no reply is lost.
        (self.cluster.bed.folder / "faults" / fault).unlink(missing_ok=True)

    def freeze(self, name: str) -> None:
        self.cluster.bed.freeze_controller()
        try:
            self.submit(name, 0.1)
            self.status(name)
        finally:
            self.cluster.bed.thaw_controller()

    def settle(self) -> None:
        """Submit everything once more with nothing in the way, and check I1 to I7."""
        for name in self.names:
            self.submit(name, 60)
            job = self.names[name]
            assert job is not None, f"I4: {name}"
            assert self.cluster.jobs(name) == [job.id], f"I1 and I2: {name}"
            if name in self.cancelled:
                assert self.cluster.bed.wait_for(job.id, seconds=60) in {"COMPLETED", "CANCELLED"}
            else:
                assert self.cluster.ran_whole(job, self.source), f"I3: {name}"
            self.status(name)
        assert holding(CANARY, (self.cluster.home, self.cluster.sources)) == [], "I5"
        home = self.cluster.home
        assert [*home.rglob("*.part"), *home.rglob(".files.tar")] == [], "I7"
        wait_until(lambda: not self.cluster.bed.leftovers(), 20, "I7: end of what runs on the nodes")


@pytest.fixture
def soak(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> Iterator[Soak]:
    seed = int(os.environ.get(SEED) or secrets.randbelow(10**9))
    print(f"{SEED}={seed}")  # noqa: T201 - shown with a failure, to have the same schedule again
    with ChaosProxy((sshd.host, sshd.port)) as proxy:
        shell = SshShell(host_of(sshd, proxy.port))
        home = slurm.work / f"soak {secrets.token_hex(3)}"
        cluster = Cluster(slurm, sshd, shell, home, tmp_path / "sources")
        yield Soak(cluster, proxy, random.Random(seed), a_tree(count=4, size=20_000))  # noqa: S311 - to be had again
        shell.close()


@pytest.mark.slow
def test_soak_of_30_operations(soak: Soak) -> None:
    for _ in range(30):
        soak.step()
    soak.settle()


@pytest.mark.minutes
def test_soak_of_200_operations(soak: Soak) -> None:
    for _ in range(200):
        soak.step()
    soak.settle()


def kill_commands(slurm: SlurmBed, sshd: SshBed, folder: Path, times: int) -> None:
    """Kill the same command again and again, each time at another moment, and then let it come to its end."""
    seed = int(os.environ.get(SEED) or secrets.randbelow(10**9))
    print(f"{SEED}={seed}")  # noqa: T201 - as above
    chosen = random.Random(seed)  # noqa: S311 - as above
    campaign = on_slurm(folder, slurm, sshd)
    script = campaign.script()
    usual = campaign.submit(script, "--dry-run").seconds
    campaign.commands.clear()
    for _ in range(times):
        process = campaign.project.start("run", script, "--batch", "ssh")
        try:
            process.communicate(timeout=chosen.uniform(0.3, 5.0) * usual)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert campaign.submit(script).code == 0
    # What killed commands have left is removed by the next one that connects, when it is old enough to be nobody's.
    for left in campaign.temporary.glob("nr-*"):
        os.utime(left, (0, 0))
    campaign.project.run("kit", "doctor", "ssh")
    assert_invariants(campaign)


@pytest.mark.slow
def test_a_command_killed_3_times_at_any_moment(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> None:
    kill_commands(slurm, sshd, tmp_path / "project", 3)


@pytest.mark.minutes
def test_a_command_killed_20_times_at_any_moment(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> None:
    kill_commands(slurm, sshd, tmp_path / "project", 20)
