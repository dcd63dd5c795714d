"""Slurm's own client programs, run against a bed, and what its servers know about jobs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clusters.beds.processes import SYSTEM_PATH, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FINAL = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
)
_QUEUE_FORMAT = "%i\x1f%j\x1f%k\x1f%T\x1f%u"
_RECORD_FIELDS = "JobID,JobName,Comment,State,User"


@dataclass
class SlurmClients:
    """How to talk to a Slurm.

    Attributes:
        folder: Everything of its bed; everyone may look into it.
        user: An ordinary account, made for the bed.
        accounting: Whether there is a slurmdbd.
        config: Its slurm.conf.
        work: A folder that belongs to that account, and to nobody else.
        environment: What a client needs: SLURM_CONF, and PATH with the bed's own sbatch and enroot first.
    """

    folder: Path
    user: str
    accounting: bool

    @property
    def config(self) -> Path:
        return self.folder / "etc/slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.config), "PATH": f"{self.folder}/bin:{SYSTEM_PATH}"}

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout_s: float = 30.0,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a client on this machine, in `work`.

        Args:
            argv: The command.
            check: Whether another exit code than 0 is an error.
            timeout_s: How long it may take.
            user: As whom; without it, the bed's ordinary user.
            environment: Variables beside the client's own; nothing else of this process's is seen.
            text: What it reads.

        Raises:
            subprocess.CalledProcessError: It failed; its output is in the message's notes.
            subprocess.TimeoutExpired: It took too long.
        """
        name = user or self.user
        home = "/root" if name == "root" else str(self.folder / "home")
        variables = {
            "HOME": home,
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            **self.environment,
            **(environment or {}),
        }
        done = subprocess.run(
            argv,
            env=variables,
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            user=None if name == "root" else name,
            group=None if name == "root" else name,
            extra_groups=None if name == "root" else [],
            cwd=self.work,
        )
        if check and done.returncode:
            error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
            error.add_note(f"{done.stdout}{done.stderr}")
            raise error
        return done

    def submit(self, script: str, *options: str, user: str | None = None) -> str:
        """Submit the body of a shell script with the real sbatch, and give the job's id."""
        text = f"#!/bin/sh\n{script}\n"
        return (
            self.run("/usr/bin/sbatch", "--parsable", *options, user=user, text=text).stdout.strip().partition(";")[0]
        )

    def jobs(self) -> list[dict[str, str]]:
        """Give every job that the controller or the accounting knows: id, name, comment, state and user.

        The comment is the controller's; the accounting keeps none.

        Raises:
            subprocess.SubprocessError: One of them did not answer.
        """
        queue = self.run(
            "squeue", "--noheader", "--all", "--states=all", f"--format={_QUEUE_FORMAT}", user="root"
        ).stdout
        found = {}
        if self.accounting:
            records = self.run(
                "sacct", "--allusers", "--allocations", "--noheader", "--parsable2", "--starttime=now-2days",
                "--delimiter=\x1f", f"--format={_RECORD_FIELDS}", user="root",
            ).stdout  # fmt: skip
            found.update(_rows(records))
        found.update(_rows(queue))
        return [found[number] for number in sorted(found, key=lambda text: (len(text), text))]

    def state(self, job: str) -> str:
        """Give a job's state in capitals, UNKNOWN where neither side knows it; the controller's word comes first."""
        return next((row["state"].partition(" ")[0] for row in self.jobs() if row["id"] == job), "UNKNOWN")

    def wait_for(self, job: str, *states: str, seconds: float = 30.0) -> str:
        """Wait until a job is in one of some states, or without them, at its end; give the state."""
        wanted = states or FINAL
        seen = ["UNKNOWN"]

        def reached() -> bool:
            seen.append(self.state(job))
            return seen[-1] in wanted

        wait_until(reached, seconds, f"job {job} in {'/'.join(wanted)}")
        return seen[-1]

    def exit_code(self, job: str, seconds: float = 15.0) -> str:
        """Give the exit code that the accounting has, such as `3:0`, when it knows when the job ended.

        Before that, a job that ended while slurmdbd was away can be in it with its final state and 0:0.
        """
        found: list[str] = []

        def known() -> bool:
            argv = ("sacct", "-nPX", "-j", job, "-o", "State,End,ExitCode")
            rows = (line.split("|") for line in self.run(*argv, user="root").stdout.splitlines())
            found[:] = [code for state, end, code in rows if state.split(" ")[0] in FINAL and end != "Unknown"]
            return bool(found)

        wait_until(known, seconds, f"end of job {job} in the accounting")
        return found[0]


def _rows(text: str) -> dict[str, dict[str, str]]:
    names = ("id", "name", "comment", "state", "user")
    rows = (dict(zip(names, line.replace("(null)", "").split("\x1f"), strict=True)) for line in text.splitlines())
    return {row["id"]: row for row in rows}
