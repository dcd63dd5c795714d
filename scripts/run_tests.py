"""Run all tests in three parts side by side: two wait for clusters most of their time, the third one computes.

    python scripts/run_tests.py -m "not minutes"    # what follows goes to pytest, for all parts

The first part is shown as it goes, each other one in a piece when it has ended. Ctrl-C lets all end as it lets one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
CLUSTERS = "tests/clusters"
# What runs below CLUSTERS in another part than the first one; so shared out, the parts take about the same time.
SHARED_OUT = {
    "test_slurm_watching.py": "Slurm's own time",
    "test_slurm_scripts.py": "Slurm's own time",
    "test_slurm_submission.py": "Slurm's own time",
    "test_ray_on_nodes.py": "Slurm's own time",
}
REST = "everything else"

NO_TESTS = 5
"""Pytest's exit code where it has found none, as `-k` may leave a part without any."""

SIGNAL_BASE = 128
BLOCK = 1 << 16
LOOK_S = 0.2
MINUTE_S = 60
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Part:
    """Some of the tests.

    Args:
        name: What the closing line calls them.
        arguments: What makes pytest run these.
    """

    name: str
    arguments: tuple[str, ...]


def parts(root: Path = ROOT) -> list[Part]:
    """Share the test files out: each is in one part, whatever files there are.

    Args:
        root: The checkout.
    """
    files = sorted(path.name for path in (root / CLUSTERS).glob("test_*.py"))
    shares: dict[str, list[str]] = {"clusters": []}
    for name in files:
        shares.setdefault(SHARED_OUT.get(name, "clusters"), []).append(f"{CLUSTERS}/{name}")
    found = [Part(name, tuple(share)) for name, share in shares.items()]
    return [*found, Part(REST, ("tests", f"--ignore={CLUSTERS}"))]


class Run:
    """One part that runs, in a process group of its own."""

    def __init__(self, part: Part, more: Sequence[str], output: int | IO[bytes], root: Path) -> None:
        """Start it.

        Args:
            part: Which.
            more: Further arguments of pytest's.
            output: Where its output goes.
            root: The checkout.
        """
        self.name = part.name
        # All would write which tests have failed to one file.
        cache = f"cache_dir=.pytest_cache/{part.name.replace(' ', '-')}"
        colour = "yes" if sys.stdout.isatty() else "auto"
        options = ["-o", cache, f"--color={colour}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *more, *part.arguments],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._began = time.monotonic()
        self.seconds = 0.0

    def over(self) -> bool:
        """Tell whether it has ended."""
        if self.process.poll() is None:
            return False
        self.seconds = self.seconds or time.monotonic() - self._began
        return True

    def wait(self) -> None:
        """Wait for its end."""
        self.process.wait()
        self.over()

    def send(self, number: int) -> None:
        """Send a signal to it and to the commands that it is testing, as a terminal does."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    @property
    def code(self) -> int:
        """Its exit code, or 128 and the number of the signal that ended it."""
        code = self.process.returncode
        return code if code >= 0 else SIGNAL_BASE - code

    def told(self) -> str:
        """Say what came of it, and how long it took."""
        minutes, seconds = divmod(round(self.seconds), MINUTE_S)
        result = {0: "passed", NO_TESTS: "had no tests"}.get(self.code, f"FAILED with exit code {self.code}")
        return f"{self.name} {result} in {minutes} min {seconds} s"


@dataclass
class Runs:
    """All that runs, and the signals that ask it to end."""

    running: list[Run] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)

    def start(self, part: Part, more: Sequence[str], output: int | IO[bytes], root: Path) -> Run:
        """Start one part; the arguments are those of `Run`."""
        run = Run(part, more, output, root)
        self.running.append(run)
        if self.signals:
            run.send(signal.SIGINT)
        return run

    def end(self, number: int, _frame: FrameType | None = None) -> None:
        """Let all end as by Ctrl-C, and the second time at once: what beds have made goes away even so."""
        self.signals.append(number)
        for run in self.running:
            run.send(signal.SIGINT if len(self.signals) == 1 else signal.SIGKILL)

    def code(self) -> int:
        """Give what the command ends with: the greatest exit code of those that have had tests."""
        if self.signals:
            return SIGNAL_BASE + self.signals[0]
        return max([run.code for run in self.running if run.code != NO_TESTS], default=NO_TESTS)


def show(kept: IO[bytes], name: str) -> None:
    """Show in one piece what a part has said.

    Args:
        kept: Its output; closed afterwards.
        name: What the part is called.
    """
    sys.stdout.write(f"\n######## {name} ########\n")
    sys.stdout.flush()
    kept.seek(0)
    shutil.copyfileobj(kept, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    kept.close()


def follow(first: Run, kept: dict[Run, IO[bytes]]) -> None:
    """Show the first part as it goes, and each other one between two of its lines once that has ended.

    Args:
        first: Its output is a pipe.
        kept: The files that the others' output goes to.
    """
    stream = first.process.stdout
    assert stream is not None  # noqa: S101 - it was started with a pipe
    while data := os.read(stream.fileno(), BLOCK):
        whole, newline, rest = data.rpartition(b"\n")
        sys.stdout.buffer.write(whole + newline)
        ended = [run for run in kept if newline and run.over()]
        for other in ended:
            show(kept.pop(other), other.name)
        if ended:
            sys.stdout.write(f"\n######## {first.name}, continued ########\n")
            sys.stdout.flush()
        sys.stdout.buffer.write(rest)
        sys.stdout.buffer.flush()
    first.wait()
    while kept:
        run = next((run for run in kept if run.over()), None)
        if run is None:
            time.sleep(LOOK_S)
        else:
            show(kept.pop(run), run.name)


def main(more: Sequence[str], root: Path = ROOT) -> int:
    """Run all parts to their ends, and close with one line.

    Args:
        more: Arguments of pytest's for all of them.
        root: The checkout.

    Returns:
        0 where all passed; 128 and a signal's number where one has ended it.
    """
    one, *others = parts(root)
    runs = Runs()
    with ExitStack() as stack:
        for number in SIGNALS:
            stack.callback(signal.signal, number, signal.signal(number, runs.end))
        names = " and ".join(part.name for part in others)
        sys.stdout.write(f"The tests run in {len(others) + 1} parts side by side; {names} are shown at their ends.\n")
        sys.stdout.write(f"\n######## {one.name} ########\n")
        sys.stdout.flush()
        first = runs.start(one, more, subprocess.PIPE, root)
        files = [(part, stack.enter_context(tempfile.TemporaryFile())) for part in others]
        kept: dict[Run, IO[bytes]] = {runs.start(part, more, file, root): file for part, file in files}
        try:
            follow(first, kept)
        except BrokenPipeError:  # nobody reads any longer
            runs.end(signal.SIGPIPE)
            for run in runs.running:
                run.wait()
            return runs.code()
    sys.stdout.write(f"\nall tests: {'; '.join(run.told() for run in runs.running)}\n")
    return runs.code()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
