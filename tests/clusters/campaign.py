"""One user's commands against a place that is disturbed, and what must be true of them afterwards.

What counts is the server's own record. The invariants have the numbers that the fault matrix gives them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clusters.beds.processes import wait_until
from tests.clusters.cluster_projects import holding, remote_home, slurm_project
from tests.clusters.projects import CANARY, CLIENT_CANARY, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemo_runspec.rehearsal.twin import Twin
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed
    from tests.clusters.places import Place

TOKEN: Final = "CAMPAIGN_TOKEN"  # noqa: S105 - a variable's name; it tells whose a process is
LONGEST_S: Final = 120
"""How long any command may take, on a machine where others work too."""
END_S: Final = 90

_KEY: Final = re.compile(r"submitted to \S+ as (?:[a-z]+ )+([a-z0-9-]+)\.")
_FAILURE: Final = re.compile(r"^[a-z ]*(error|failed): .{10,}\n  \S.{10,}", re.MULTILINE)
_PAYLOAD: Final = re.compile(r"payload (\d+) ([0-9a-f]{64})")

# Tells which files it has, and stays until it may go.
_BODY: Final = """\
import hashlib, os, pathlib, time
parts = sorted(pathlib.Path(__file__).parent.rglob("part_*.py"))
print("payload", len(parts), hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest(), flush=True)
end = time.monotonic() + 240
while not os.path.exists({gate!r}) and time.monotonic() < end:
    time.sleep(0.1)
{last}
"""


@dataclass(frozen=True)
class Command:
    """What came of a command.

    Args:
        argv: Its words after `nemotron`.
        code: Its exit code.
        out: Its output.
        err: Its errors.
        seconds: How long it took.
    """

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def key(self) -> str | None:
        """The name of the job that it says it has submitted, or taken over."""
        told = _KEY.search(self.out)
        return told[1] if told else None

    @property
    def submits(self) -> bool:
        return self.argv[0] == "run" and "--batch" in self.argv


@dataclass
class Campaign:
    """All commands of a project against one place.

    Args:
        project: The project.
        profile: The profile that leads there.
        jobs: Gives the names of all jobs that the server has.
        logs: Gives what a job has printed, by its name.
        ended: Tells whether a job is over, by the server's word.
        leftovers: Tells what is left of jobs that are over.
        folders: What may hold no secret, beside the project.
        gate: A file that jobs wait for, by the path that they see; none where they end at once.
    """

    project: Project
    profile: str
    jobs: Callable[[], list[str]]
    logs: Callable[[str], str]
    ended: Callable[[str], bool]
    leftovers: Callable[[], list[str]]
    folders: tuple[Path, ...]
    gate: Path | None
    commands: list[Command] = field(default_factory=list)
    payload: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        """Note what is there already."""
        self.before = frozenset(self.jobs())
        # A short path, for the sockets that ssh makes there.
        self.temporary = Path(tempfile.mkdtemp(prefix="nm-"))
        self.token = secrets.token_hex(8)
        mine = {**self.project.environment, "TMPDIR": str(self.temporary), TOKEN: self.token}
        self.project = replace(self.project, environment=mine)

    def script(self, last: str = "", *, parts: int = 12, size: int = 15_000) -> str:
        """Write a script that tells which of its files have arrived, waits, and then runs a last line.

        Args:
            last: The last line.
            parts: How many files travel with it.
            size: How many random bytes each of them has, as hexadecimal text.
        """
        path = self.project.script(_BODY.format(gate=str(self.gate or "/"), last=last))
        found = []
        for number in range(parts):
            part = Path(path).with_name(f"part_{number:02}.py")
            part.write_text(f"# {os.urandom(size).hex()}\n", encoding="ascii")
            found.append(part.read_bytes())
        self.payload = (parts, hashlib.sha256(b"".join(found)).hexdigest())
        return path

    def run(self, *argv: str, **variables: str) -> Command:
        """Run a command to its end."""
        project = replace(self.project, environment={**self.project.environment, **variables})
        began = time.monotonic()
        code, out, err = project.run(*argv)
        done = Command(argv, code, out, err, time.monotonic() - began)
        self.commands.append(done)
        return done

    def submit(self, script: str, *more: str, **variables: str) -> Command:
        """Submit a script as a detached job."""
        return self.run("run", script, "--batch", self.profile, *more, **variables)

    def profile_with(self, **values: object) -> Iterator[None]:
        """Change keys of all profiles for a while."""
        path = self.project.folder / "env.toml"
        usual = path.read_text(encoding="utf-8")
        text = usual
        for key, value in values.items():
            text = re.sub(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
        assert text != usual
        path.write_text(text, encoding="utf-8")
        yield
        path.write_text(usual, encoding="utf-8")

    changed = contextmanager(profile_with)

    def made(self) -> list[str]:
        """Give the names of the jobs that these commands have made, as the server has them."""
        return sorted(name for name in self.jobs() if name not in self.before)

    def finish(self) -> None:
        """Let every job end."""
        if self.gate is not None:
            self.gate.touch()
        for name in self.made():
            wait_until(partial(self.ended, name), END_S, f"end of {name}")

    def assert_nothing_made(self) -> None:
        """Check that the commands so far have made no job."""
        assert self.made() == []


def assert_invariants(campaign: Campaign, *, jobs: int = 1, longest_s: float = LONGEST_S) -> None:
    """Check I1 to I8 on the server's record, once all jobs may end.

    I4, that the same command again converges, is what a test's last command does: it is among those looked at.

    Args:
        campaign: The commands.
        jobs: How many different jobs they have asked for.
        longest_s: How long each may have taken.
    """
    campaign.finish()
    made = campaign.made()
    told = {command.key for command in campaign.commands if command.submits and command.code == 0}
    assert len(made) == len(set(made)) == jobs, f"I1: {made}"
    assert told <= set(made), f"I2: told of {told}, the server has {made}"
    for command in campaign.commands:
        if command.submits and command.code:
            assert command.key is None, f"I2: {command}"
    last = [command for command in campaign.commands if command.submits][-1:]
    assert all(command.code == 0 and command.key in made for command in last), f"I4: {last}"
    for name in made:
        arrived = set(_PAYLOAD.findall(campaign.logs(name)))
        expected = {(str(campaign.payload[0]), campaign.payload[1])} if campaign.payload[0] else arrived
        assert arrived == expected, f"I3: {name} ran with {arrived}"
    _assert_no_secret(campaign)
    for command in campaign.commands:
        _assert_is_told(command)
        assert command.seconds < longest_s, f"I8: {command}"
    known = _listed(campaign)
    assert set(made) <= known, f"lost: {set(made) - known}"
    _assert_nothing_left(campaign)


def _listed(campaign: Campaign) -> set[str]:
    """Give the keys that the user's own list has, which is how a job is found again."""
    code, out, err = campaign.project.run("jobs", "list", "--json", "--within", "60")
    assert code == 0, out + err
    return {job["key"] for job in json.loads(out)["jobs"] if job["confirmed"]}


def _assert_no_secret(campaign: Campaign) -> None:
    for canary in (CANARY, CLIENT_CANARY):
        found = holding(canary, (campaign.project.folder, campaign.temporary, *campaign.folders))
        assert found == [], f"I5: {found}"
        assert all(canary not in command.out + command.err for command in campaign.commands), "I5"


def _assert_is_told(command: Command) -> None:
    """Check that a failure of a command that was not killed says what failed and what to do."""
    assert "Traceback" not in command.err, f"I6: {command.err}"
    if command.submits and command.code > 0:
        assert _FAILURE.search(command.err), f"I6: {command.err}"


def _assert_nothing_left(campaign: Campaign) -> None:
    assert campaign.leftovers() == [], "I7"
    wait_until(lambda: not processes_of(campaign.token), 15, f"end of {processes_of(campaign.token)}")
    left = [str(path) for path in campaign.temporary.rglob("*")]
    assert left == [], f"I7: {left}"
    campaign.temporary.rmdir()


def processes_of(token: str) -> list[str]:
    """Give the command lines of the processes that have a campaign's token in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " "))
        except OSError:
            continue
    return found


def on_slurm(folder: Path, slurm: SlurmBed, sshd: SshBed) -> Campaign:
    """Give a campaign of an ordinary user against a real Slurm, through SSH.

    Args:
        folder: A new one, whose parent's name tells it from others.
        slurm: The cluster.
        sshd: Its login node.
    """
    project = slurm_project(folder, slurm, sshd)
    home = remote_home(slurm, project)

    def ended(name: str) -> bool:
        (state,) = {job["state"] for job in slurm.jobs() if job["name"] == name}
        return state.split()[0] in {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

    def logs(name: str) -> str:
        files = sorted((home / "jobs" / name / "logs").glob("*.log"))
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def leftovers() -> list[str]:
        wait_until(lambda: not slurm.leftovers(), 20, "end of what runs on the nodes")
        return [str(path) for path in (*home.rglob("secrets.sh"), *home.rglob("*.part"), *home.rglob(".files.tar"))]

    # The accounting's database is not looked at: it is large, and has no text of a job.
    folders = (slurm.work, slurm.folder / "home", slurm.folder / "log", slurm.folder / "spool", slurm.folder / "state")
    gate = slurm.work / f"gate {secrets.token_hex(4)}"
    return Campaign(
        project, "ssh", lambda: [job["name"] for job in slurm.jobs()], logs, ended, leftovers, folders, gate
    )


def on_twin(folder: Path, place: Place) -> Campaign:
    """Give a campaign against the twin of a cloud.

    Args:
        folder: A new one.
        place: The twin.
    """
    twin = place.twin
    assert twin is not None

    def logs(name: str) -> str:
        pods = [pod for seen in twin.workloads if seen.name == name for pod in seen.pods]
        return "".join(pod.log.read_text(encoding="utf-8") for pod in pods)

    def ended(name: str) -> bool:
        return all(seen.phase.is_finished or seen.phase.is_gone for seen in twin.workloads if seen.name == name)

    return Campaign(place.make(folder), place.profile, place.jobs, logs, ended, list, (), None)


def requests_of(twin: Twin, status: int) -> int:
    """Count the requests that a twin has answered with a status."""
    return sum(request.status == status for request in twin.requests)
