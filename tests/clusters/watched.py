"""Jobs laid out by hand on a real Slurm, and what is seen of them through SSH."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.platforms.names import new_token
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.openssh import SshShell
from nemo_runspec.platforms.slurm.logs import RemoteLogs
from nemo_runspec.platforms.slurm.status import look
from nemo_runspec.platforms.slurm.stopping import cancel, remove
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from tests.clusters.beds import slurm as slurm_bed
from tests.clusters.beds.processes import wait_until
from tests.clusters.beds.slurm import SlurmBed
from tests.clusters.beds.sshd import SshBed
from tests.clusters.conftest import require_beds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.platforms.shell import Shell

BATCH = """\
#!/bin/bash
folder=$1 attempt=${SLURM_RESTART_COUNT:-0}
exec >"$folder/logs/batch.$attempt.log" 2>&1
srun --kill-on-bad-exit=1 --output="$folder/logs/task-%t.$attempt.log" bash "$folder/launch.sh"
code=$?
echo $code >"$folder/exit/.job.$attempt" && mv "$folder/exit/.job.$attempt" "$folder/exit/job.$attempt"
exit $code
"""


@dataclass
class Place:
    """A cluster, and the folder of our jobs on it."""

    bed: SlurmBed
    shell: Shell
    home: Path

    def submit(self, body: str, *options: str) -> Submitted:
        """Submit a job each of whose tasks runs some lines of bash, as the layout of job folders wants it."""
        name = f"watch-{new_token()}"
        folder = self.home / "jobs" / name
        for part in ("logs", "exit"):
            (folder / part).mkdir(parents=True)
        (folder / "launch.sh").write_text(body)
        (folder / "job.sbatch").write_text(BATCH)
        (folder / "secrets.sh").write_text("export TOKEN=canary\n")
        self._give(self.home)
        script = str(folder / "job.sbatch")
        sbatch = ("/usr/bin/sbatch", "--parsable", f"--job-name={name}", "--requeue", "--output=/dev/null")
        done = self.bed.run(*sbatch, *options, script, str(folder))
        return Submitted("slurm", "job", done.stdout.strip(), name)

    def _give(self, folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, self.bed.user, self.bed.user)

    def look(self, job: Submitted) -> Seen:
        return look(self.shell, str(self.home), job)

    def until(self, job: Submitted, *states: JobState, seconds: float = 40.0) -> list[Seen]:
        """Look until a job is in one of some states, or is over, and give all that was seen."""
        seen: list[Seen] = []

        def reached() -> bool:
            seen.append(self.look(job))
            return seen[-1].state in states or (not states and seen[-1].state.is_final)

        wait_until(reached, seconds, f"{job.name} in {states or 'its end'}")
        return seen

    def cancel(self, job: Submitted) -> None:
        cancel(self.shell, str(self.home), job)

    def remove(self, job: Submitted) -> None:
        remove(self.shell, str(self.home), job)

    def folder(self, job: Submitted) -> Path:
        return self.home / "jobs" / job.name

    def logs(self, job: Submitted) -> RemoteLogs:
        return RemoteLogs(self.shell, str(self.home), job)

    def begun(self, job: Submitted) -> None:
        """Wait until a job's first task has said something: that it runs does not say that its tasks do."""
        log = self.folder(job) / "logs/task-0.0.log"
        wait_until(lambda: log.exists() and log.stat().st_size > 0, 30, f"output of {job.name}")

    def forgotten(self, job: Submitted) -> None:
        """Wait until the controller does not know a job any more."""

        def gone() -> bool:
            return not self.bed.run("squeue", "-h", "-t", "all", "-j", job.id, check=False).stdout.strip()

        wait_until(gone, 30, f"{job.name} out of the queue")


class Following:
    """Reads the logs of some tasks of a job, each in a thread of its own."""

    def __init__(self, logs: RemoteLogs, job: Submitted, *tasks: str) -> None:
        self.lines: dict[str, list[str]] = {task: [] for task in tasks}
        self._threads = [
            threading.Thread(target=self._read, args=(logs, f"{job.name}-{task}", lines), daemon=True)
            for task, lines in self.lines.items()
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(logs: RemoteLogs, pod: str, lines: list[str]) -> None:
        lines.extend(logs.lines(pod))
        lines.append("THE END")

    def to_end(self) -> dict[str, list[str]]:
        for thread in self._threads:
            thread.join(30)
        assert [lines.pop() for lines in self.lines.values()] == ["THE END"] * len(self.lines)
        return self.lines


@contextmanager
def logged_in(bed: SlurmBed, sshd: SshBed, home: Path) -> Iterator[Place]:
    home.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(home, bed.user, bed.user)
    host = Host(
        host=sshd.host,
        port=sshd.port,
        user=bed.user,
        identity=str(sshd.identity),
        known_hosts=str(sshd.known_hosts),
    )
    shell = SshShell(host)
    try:
        yield Place(bed, shell, home)
    finally:
        shell.close()


@contextmanager
def started(*, accounting: bool, min_job_age: int, home: Path | None = None) -> Iterator[Place]:
    """Start a cluster for one test."""
    require_beds(slurm_bed.PROGRAMS)
    bed = SlurmBed.start(accounting=accounting, min_job_age=min_job_age)
    try:
        sshd = SshBed.start(bed.user, bed.environment)
        try:
            with logged_in(bed, sshd, home or bed.work / "jobs of mine") as place:
                yield place
        finally:
            sshd.stop()
    finally:
        bed.stop()
