"""Compare how a job gets from `Experiment.run()` to its number on a real Slurm through SSH: nemo-run's own, and ours.

Both submit the same folder of code to one test bed with nemo-run's own packager, in turn, each time in a process of its
own; medians are compared. Then ours submits it as `nemotron` does, with the library beside it, into an empty folder for
jobs, once more with the same code, and once with one file changed: what was sent is the transport's own count, rsync's
and that of what scripts read. Only then does code travel by its content: what nemo-run's packagers give is files of the
one job, and is sent each time.

    python -m benchmarks.slurm_submit
    python -m benchmarks.slurm_submit --runs 9 --json

It takes root and the packages of the test beds (scripts/system_packages.sh). nemo-run's rsync does not know the bed's
host key, and has no option for it; a `ssh` before the system's on its PATH tells it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters.beds.slurm import SlurmBed
from tests.clusters.beds.sshd import SshBed
from tests.clusters.profiles import slurm_profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]

STOCK, OURS = "nemo-run", "ours, its packager"
FIRST, SECOND, CHANGED = "ours", "ours, same code", "ours, one file changed"
SIDES = (STOCK, OURS, FIRST, SECOND, CHANGED)

FILES = 40
SCRIPT, OTHER = "part_00.py", "part_01.py"
FILE_BYTES = 20_000
FOLDERS = {STOCK: "stock", OURS: "packager"}
"""Sides that have a folder for jobs of their own; the others follow each other in one."""
RUNS = 5
FEWER_BYTES = 2.0
"""How many times fewer bytes a second submission of the same code promises to send."""
SLACK = 1.1
"""Two times that differ by less than a tenth are the same: a machine is never quite still."""
MEASUREMENT_S = 300
KEYS = (
    *("name", "account", "partition", "time", "tunnel", "host", "port", "user", "identity", "known_hosts"),
    *("remote_job_dir", "container_image"),
)
"""What a measurement's process is told of the profile."""


@dataclass(frozen=True)
class Measured:
    """What one submission took.

    Args:
        seconds: From `run()` to its return, when the job has its number.
        sent_bytes: What our transport has sent; 0 for nemo-run's, which is not asked.
    """

    seconds: float
    sent_bytes: int


@dataclass(frozen=True)
class Verdict:
    """A promise and what was measured of it.

    Args:
        promise: What is promised.
        met: Whether it is kept.
        measured: The numbers.
    """

    promise: str
    met: bool
    measured: str


def judge(medians: Mapping[str, Measured]) -> list[Verdict]:
    """Hold the medians of all sides to what is promised."""
    stock, ours, first, second, changed = (medians[side] for side in SIDES)
    ratio = first.sent_bytes / max(1, second.sent_bytes)
    return [
        Verdict(
            "not slower than nemo-run's own",
            ours.seconds <= stock.seconds * SLACK,
            f"{ours.seconds:.2f} s and {stock.seconds:.2f} s",
        ),
        Verdict(
            "not slower with the library beside the code",
            first.seconds <= stock.seconds * SLACK,
            f"{first.seconds:.2f} s and {stock.seconds:.2f} s",
        ),
        Verdict(
            f"the same code again sends {FEWER_BYTES:.0f} times fewer bytes",
            ratio >= FEWER_BYTES,
            f"{second.sent_bytes:,} of {first.sent_bytes:,}, {ratio:.1f} times fewer",
        ),
        Verdict(
            "the same code again is not slower",
            second.seconds <= first.seconds * SLACK,
            f"{second.seconds:.2f} s and {first.seconds:.2f} s",
        ),
        Verdict(
            "a changed file sends less than half of all",
            changed.sent_bytes * 2 < first.sent_bytes,
            f"{changed.sent_bytes:,} of {first.sent_bytes:,}",
        ),
    ]


def medians_of(found: Mapping[str, Sequence[Measured]]) -> dict[str, Measured]:
    """Give the median of each side's times and bytes."""
    return {
        side: Measured(
            statistics.median(one.seconds for one in several), int(statistics.median(one.sent_bytes for one in several))
        )
        for side, several in found.items()
    }


def fill(folder: Path, seed: int) -> None:
    """Write code that does not compress.

    Args:
        folder: Where; it is made.
        seed: Another one gives another code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(seed)  # noqa: S311 - nothing here has to be hard to guess
    for number in range(FILES):
        (folder / f"part_{number:02}.py").write_text(f"# {chosen.randbytes(FILE_BYTES // 2).hex()}\n", encoding="ascii")


def executor_of(side: str, profile: Mapping[str, Any]) -> Any:  # noqa: ANN401 - nemo-run ships no types
    """Build the executor of a side.

    Args:
        side: One of `SIDES`.
        profile: The keys of a profile.
    """
    if side == STOCK:
        import nemo_run as run  # noqa: PLC0415 - only where something is submitted

        tunnel = run.SSHTunnel(
            host=profile["host"],
            user=profile["user"],
            port=profile["port"],
            identity=profile["identity"],
            job_dir=profile["remote_job_dir"],
        )
        return run.SlurmExecutor(
            account=profile["account"],
            partition=profile["partition"],
            time=profile["time"],
            nodes=1,
            ntasks_per_node=1,
            tunnel=tunnel,
        )
    from nemo_runspec.env import SlurmProfile  # noqa: PLC0415 - only where something is submitted
    from nemo_runspec.executors import build_executor  # noqa: PLC0415 - imports nemo-run

    return build_executor(SlurmProfile(**profile))


def submit(side: str, code: Path, profile: Mapping[str, Any]) -> Measured:
    """Submit a folder of code in this process.

    Args:
        side: One of `SIDES`.
        code: The folder.
        profile: The keys of a profile.
    """
    import nemo_run as run  # noqa: PLC0415 - only where something is submitted

    sent = count_bytes()
    executor = executor_of(side, profile)
    if side in {STOCK, OURS}:
        executor.packager = run.PatternPackager(include_pattern=str(code / "*"), relative_path=str(code))
    else:
        executor.packager.script_path = str(code / SCRIPT)
    with run.Experiment("measured", skip_status_at_exit=True) as experiment:
        experiment.add(run.Script(inline="true"), executor=executor, name="task")
        begin = time.monotonic()
        experiment.run(detach=True)
        seconds = time.monotonic() - begin
    return Measured(seconds, sum(sent))


def count_bytes() -> list[int]:
    """Have every call of our transport note what it has sent, and give where."""
    from nemo_runspec.platforms.shell.openssh import SshShell  # noqa: PLC0415 - after the arguments are read

    sent: list[int] = []
    bash, send_tree = SshShell.bash, SshShell.send_tree

    def counted_bash(self: SshShell, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on as they are
        sent.append(len(options.get("stdin") or b""))
        return bash(self, *words, **options)

    def counted_tree(self: SshShell, *words: Any, **options: Any) -> int:  # noqa: ANN401 - as above
        sent.append(send_tree(self, *words, **options))
        return sent[-1]

    SshShell.bash, SshShell.send_tree = counted_bash, counted_tree  # type: ignore[method-assign] # to count
    return sent


def measure(side: str, code: Path, profile: Mapping[str, Any], folder: Path) -> Measured:
    """Measure one submission in a process of its own.

    Args:
        side: One of `SIDES`.
        code: The code.
        profile: The keys of a profile.
        folder: With `bin`, where nemo-run's rsync finds its ssh.

    Raises:
        RuntimeError: The submission failed.
    """
    result = folder / "result.json"  # not printed: nemo-run prints, too
    result.unlink(missing_ok=True)
    argv = [
        sys.executable,
        "-m",
        "benchmarks.slurm_submit",
        "--measure",
        side,
        str(code),
        json.dumps(profile),
        str(result),
    ]
    environment = {**os.environ, "NEMORUN_HOME": str(folder / "home")}
    if side == STOCK:
        environment["PATH"] = f"{folder}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MEASUREMENT_S, check=False
    )
    if not result.exists():
        message = f"{side} could not be measured:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        raise RuntimeError(message)
    return Measured(**json.loads(result.read_text(encoding="utf-8")))


def compare(runs: int) -> dict[str, list[Measured]]:
    """Measure all sides in turn on a new test bed.

    Args:
        runs: How often.

    Raises:
        RuntimeError: A submission failed, or made another number of jobs than one.
    """
    found: dict[str, list[Measured]] = {side: [] for side in SIDES}
    folder = Path(tempfile.mkdtemp(prefix="slurm-submit-"))
    bed = SlurmBed.start()
    try:
        login = SshBed.start(bed.user, bed.environment)
        try:
            (folder / "bin").mkdir()
            wrapper = folder / "bin" / "ssh"
            known = f"-o UserKnownHostsFile={login.known_hosts} -o BatchMode=yes"
            wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh {known} "$@"\n', encoding="ascii")
            wrapper.chmod(0o755)
            for number in range(runs):
                code = folder / f"code-{number}"
                fill(code, number)
                for side in SIDES:
                    if side == CHANGED:
                        (code / OTHER).write_text("# changed\n", encoding="ascii")
                    home = f"{bed.work}/{FOLDERS.get(side, 'content')}-{number}"
                    made = slurm_profile(bed, login, remote_job_dir=home, container_image="none")
                    profile = {key: getattr(made, key) for key in KEYS}
                    before = len(bed.jobs())
                    found[side].append(measure(side, code, profile, folder))
                    if len(bed.jobs()) != before + 1:
                        message = f"{side} has made {len(bed.jobs()) - before} jobs"
                        raise RuntimeError(message)
        finally:
            login.stop()
    finally:
        bed.stop()
        shutil.rmtree(folder)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        0 where every promise is kept, else 1.
    """
    parser = argparse.ArgumentParser(description="Compare submissions to Slurm: nemo-run's own, and this library's.")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each side is measured")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        side, code, profile, result = arguments.measure
        measured = submit(side, Path(code), json.loads(profile))
        Path(result).write_text(json.dumps(asdict(measured)), encoding="utf-8")
        return 0
    medians = medians_of(compare(arguments.runs))
    verdicts = judge(medians)
    if arguments.json:
        told = {"medians": {side: asdict(one) for side, one in medians.items()}, "runs": arguments.runs}
        print(json.dumps({**told, "promises": [asdict(verdict) for verdict in verdicts]}, indent=2))
    else:
        for side, one in medians.items():
            print(f"{side:<24}{one.seconds:>8.2f} s{one.sent_bytes:>12,} B")
        for verdict in verdicts:
            print(f"{'pass' if verdict.met else 'FAIL'}  {verdict.promise}: {verdict.measured}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
