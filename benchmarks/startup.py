"""Compare `nemotron --help` with a bare two-command typer program: wall time and peak memory.

Both run in turn from this one process, so that whatever else the machine does falls on both alike. Only the ratio is
worth keeping; the absolute numbers are this machine's.

    python benchmarks/startup.py
    python benchmarks/startup.py --runs 31 --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WALL_LIMIT = 1.5
MEMORY_LIMIT = 1.3

# macOS counts the peak in bytes, Linux in KiB.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024

BARE_PROGRAM = '''\
"""The least that a program with two commands can be."""

import typer

app = typer.Typer()


@app.command()
def first(name: str) -> None:
    """Do one thing."""


@app.command()
def second(name: str) -> None:
    """Do another thing."""


if __name__ == "__main__":
    app()
'''


@dataclass(frozen=True)
class Run:
    """What one start of a program took.

    Args:
        seconds: Wall time from start to end.
        memory: Peak resident memory in bytes.
    """

    seconds: float
    memory: int


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Run:
    """Run a command to its end and measure it.

    Args:
        command: The program and its arguments.
        environment: Its whole environment.
        folder: Its working directory.

    Raises:
        subprocess.CalledProcessError: The command failed, so that there is nothing to measure.
    """
    begin = time.perf_counter()
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, usage.ru_maxrss * RSS_UNIT)


def measure(commands: Mapping[str, Sequence[str]], runs: int, folder: Path) -> dict[str, list[Run]]:
    """Run some commands in turn, a number of times.

    Args:
        commands: Name -> command.
        runs: How often each is measured; one more start of each before that fills the bytecode cache.
        folder: An empty folder, which becomes their working directory and holds that cache.

    Returns:
        Name -> its runs.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "COLUMNS": "120"}
    for command in commands.values():
        start(command, environment, folder)
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(start(command, environment, folder))
    return found


@dataclass(frozen=True)
class Comparison:
    """One quantity of both programs, as medians.

    Args:
        quantity: "wall" or "memory".
        unit: What it is counted in.
        nemotron: Of `nemotron --help`.
        bare: Of the bare program.
        limit: The ratio that the project promises not to exceed.
    """

    quantity: str
    unit: str
    nemotron: float
    bare: float
    limit: float

    @property
    def ratio(self) -> float:
        """Give how many times the bare program's value it is."""
        return self.nemotron / self.bare

    @property
    def met(self) -> bool:
        """Tell whether the ratio keeps to its limit."""
        return self.ratio <= self.limit

    def line(self) -> str:
        """Give a row of the table."""
        verdict = "pass" if self.met else "FAIL"
        return (
            f"{f'{self.quantity} ({self.unit})':14}{self.nemotron:>10.3f}{self.bare:>12.3f}"
            f"{self.ratio:>8.2f}{self.limit:>8.1f}  {verdict}"
        )


def compare(runs: int) -> list[Comparison]:
    """Measure both programs.

    Args:
        runs: How often each is started.

    Returns:
        The comparison of wall time in seconds and that of peak memory in MiB.
    """
    with tempfile.TemporaryDirectory(prefix="startup-") as scratch:
        folder = Path(scratch)
        bare = folder / "bare.py"
        bare.write_text(BARE_PROGRAM, encoding="utf-8")
        nemotron = Path(sys.executable).parent / "nemotron"
        commands = {program: [sys.executable, str(path), "--help"] for program, path in (("n", nemotron), ("b", bare))}
        found = measure(commands, runs, folder)
    seconds = {name: statistics.median(run.seconds for run in taken) for name, taken in found.items()}
    mebibytes = {name: statistics.median(run.memory for run in taken) / 2**20 for name, taken in found.items()}
    return [
        Comparison("wall", "s", seconds["n"], seconds["b"], WALL_LIMIT),
        Comparison("memory", "MiB", mebibytes["n"], mebibytes["b"], MEMORY_LIMIT),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        0: a measurement is no test, and a busy machine is no failure.
    """
    parser = argparse.ArgumentParser(description="Compare `nemotron --help` with a bare typer program.")
    parser.add_argument("--runs", type=int, default=15, help="how often each program is started (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    compared = compare(arguments.runs)
    if arguments.json:
        rows = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in compared]
        print(json.dumps({"runs": arguments.runs, "comparisons": rows}, indent=2))
        return 0
    print(f"median of {arguments.runs} runs each, in turn")
    print(f"{'':14}{'nemotron':>10}{'bare typer':>12}{'ratio':>8}{'limit':>8}")
    for row in compared:
        print(row.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
