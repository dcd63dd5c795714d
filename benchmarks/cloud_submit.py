"""Compare how a job folder reaches a cloud's pods: nemo-run's own executors against this library's, on one twin.

The job folder is the same for both: five small files, and data that does not compress. So are the twin of the platform,
the sandboxed pods and the task, whose first line tells the time. Measured is from `Experiment.run()` to that line, and
counted is what the twin was asked for. Every measurement is a process of its own.

    python benchmarks/cloud_submit.py
    python benchmarks/cloud_submit.py --platform lepton --json

nemo-run's DGX Cloud executor makes a workload for each piece of a file and waits ten seconds for each, which takes
minutes. Its Lepton executor cannot submit the whole folder at all: its data mover carries the folder in one argument,
of which the kernel takes 128 KiB (https://github.com/NVIDIA-NeMo/Run/issues/420). There the time is compared with as
much data as it can carry, after it has been shown that it cannot carry the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.env import DGXCloudProfile, LeptonProfile
from nemo_runspec.rehearsal.sandbox import Sandbox
from nemo_runspec.rehearsal.session import Rehearsal, RehearsedProfile, rehearse

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL_FILES = 5
DATA_BYTES = 100_000
CARRIED_BYTES = 40_000
"""Data that nemo-run's Lepton data mover can carry, which sends the packager's archive besides its content."""

SIDES = ("nemo-run", "ours")
LIMITS = {"lepton": 3.0, "dgxcloud": 10.0}
"""How many times faster the project promises to be."""

MEASUREMENT_S = 1200
END_S = 60
STARTED = "started"
IMAGE = "image.example/python"
PROFILES: dict[str, RehearsedProfile] = {
    "lepton": LeptonProfile(
        name="lepton",
        container_image=IMAGE,
        nemo_run_dir="/mnt/team/nemo_run",
        mounts=({"path": "/", "mount_path": "/mnt/team", "from": "node-nfs:team"},),
        node_group="group",
        resource_shape="cpu.large",
    ),
    "dgxcloud": DGXCloudProfile(
        name="dgxcloud",
        container_image=IMAGE,
        base_url="https://team.example/api/v1",
        kube_apiserver_url="https://kube.example",
        client_id="nemotron",
        client_secret="${oc.env:RUNAI_CLIENT_SECRET}",  # noqa: S106 - a reference, which the rehearsal replaces
        project_name="team",
        pvc_nemo_run_dir="/mnt/team/nemo_run",
        pvcs=({"path": "/mnt/team", "claimName": "team", "existingPvc": True},),
    ),
}


@dataclass(frozen=True)
class Submission:
    """What one submission took.

    Args:
        platform: `lepton` or `dgxcloud`.
        side: `nemo-run` or `ours`.
        data_bytes: Size of the data in the job folder.
        workloads: How many workloads were created.
        api_calls: How many requests the platform answered until the task's first line.
        seconds: From `run()` to the task's first line; None where it never began.
        failure: The last line of the pod that failed, where one did.
    """

    platform: str
    side: str
    data_bytes: int
    workloads: int
    api_calls: int
    seconds: float | None
    failure: str = ""

    def line(self) -> str:
        """Give a row of the table."""
        seconds = "never" if self.seconds is None else f"{self.seconds:.2f}"
        counts = f"{self.data_bytes:>9}{self.workloads:>11}{self.api_calls:>11}{seconds:>9}"
        return f"{self.platform:<10}{self.side:<10}{counts}  {self.failure}".rstrip()


@dataclass(frozen=True)
class Comparison:
    """Both sides of one job folder.

    Args:
        stock: nemo-run's own executor.
        ours: This library's.
        limit: How many times faster ours is promised to be.
    """

    stock: Submission
    ours: Submission
    limit: float

    @property
    def ratio(self) -> float | None:
        """Give how many times faster ours was; None where one of them never got there."""
        if self.stock.seconds is None or self.ours.seconds is None:
            return None
        return self.stock.seconds / self.ours.seconds

    @property
    def met(self) -> bool:
        """Tell whether ours took one workload, and kept to its limit.

        nemo-run's own may fail with all of the data, since less is compared afterwards; with that it has to arrive.
        """
        if self.ours.seconds is None or self.ours.workloads != 1:
            return False
        if self.ratio is None:
            return self.stock.data_bytes > CARRIED_BYTES
        return self.ratio >= self.limit

    def line(self) -> str:
        """Give the verdict below the two rows."""
        verdict = "pass" if self.met else "FAIL"
        times = "nemo-run's own cannot" if self.ratio is None else f"{self.ratio:.1f} times faster"
        return f"{'':10}{times}, {self.limit:.0f} promised: {verdict}"


def fill(folder: Path, data_bytes: int) -> None:
    """Write the files of a job: small ones, and data that no compression makes smaller.

    Args:
        folder: Where; it is made.
        data_bytes: Size of the data.
    """
    folder.mkdir(parents=True)
    for number in range(SMALL_FILES):
        (folder / f"part_{number}.py").write_text(f"VALUE = {number}\n", encoding="utf-8")
    # The same bytes every time, and nothing that has to be hard to guess.
    (folder / "data.bin").write_bytes(random.Random(data_bytes).randbytes(data_bytes))  # noqa: S311 - as above


def stock_executor(rehearsal: Rehearsal, packager: Any) -> Any:  # noqa: ANN401 - nemo-run ships no types
    """Build nemo-run's own executor for a twin."""
    import nemo_run as run  # noqa: PLC0415 - after the rehearsal has set what it reads when it is imported

    profile = rehearsal.profile
    common = {"container_image": IMAGE, "nodes": 1, "gpus_per_node": 0, "packager": packager}
    if isinstance(profile, LeptonProfile):
        return run.LeptonExecutor(
            **common,
            nemo_run_dir=profile.nemo_run_dir,
            mounts=[dict(mount) for mount in profile.volumes],
            node_group=profile.node_group,
            resource_shape=profile.resource_shape,
        )
    return run.DGXCloudExecutor(
        **common,
        base_url=profile.base_url,
        kube_apiserver_url=profile.kube_apiserver_url,
        client_id=profile.client_id,
        client_secret=os.environ[profile.client_secret.removeprefix("${oc.env:").removesuffix("}")],
        project_name=profile.project_name,
        pvc_nemo_run_dir=profile.pvc_nemo_run_dir,
        pvcs=[dict(claim) for claim in profile.pvcs],
    )


def our_executor(rehearsal: Rehearsal, packager: Any) -> Any:  # noqa: ANN401 - nemo-run ships no types
    """Build this library's executor for a twin."""
    from nemo_runspec.executors import build_executor  # noqa: PLC0415 - imports nemo-run

    executor: Any = build_executor(rehearsal.profile)
    executor.packager = packager
    return executor


def submit(platform: str, side: str, data_bytes: int, folder: Path) -> Submission:
    """Submit a job folder to a twin, and wait for the first line of its task.

    Args:
        platform: `lepton` or `dgxcloud`.
        side: Whose executor.
        data_bytes: Size of the data in the job folder.
        folder: An empty one.
    """
    code = folder / "code"
    fill(code, data_bytes)
    # The task checks that all has arrived before it says that it has started.
    script = f'test "$(cat part_*.py data.bin | wc -c)" -gt {data_bytes} && echo "$EPOCHREALTIME" > /mnt/team/{STARTED}'
    with rehearse(PROFILES[platform], folder=folder / "twin", runner=Sandbox(lepton_script=True)) as rehearsal:
        import nemo_run as run  # noqa: PLC0415 - as in `stock_executor`

        packager = run.PatternPackager(include_pattern=str(code / "*"), relative_path=str(code))
        make = stock_executor if side == SIDES[0] else our_executor
        with run.Experiment("measured") as experiment:
            experiment.add(run.Script(inline=script), executor=make(rehearsal, packager), name="task")
            begin = time.time()
            # nemo-run raises what a data mover that failed makes it raise.
            with contextlib.suppress(RuntimeError):
                experiment.run(detach=True)
        started = wait_for_start(rehearsal)
        evidence = rehearsal.evidence()
    seconds = None if started is None else started - begin
    failure = "" if started is not None else last_line(folder / "twin" / "logs")
    return Submission(platform, side, data_bytes, evidence.workloads_created, evidence.api_calls, seconds, failure)


def wait_for_start(rehearsal: Rehearsal) -> float | None:
    """Wait until the task has told the time, and give it; None where all workloads have ended without that."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        ended = all(seen.phase.is_finished or seen.phase.is_gone for seen in rehearsal.twin.workloads)
        for path in (rehearsal.folder / "volumes").rglob(STARTED):
            if text := path.read_text(encoding="utf-8").strip():
                return float(text)
        if ended:
            return None
        time.sleep(0.005)
    return None


def last_line(logs: Path) -> str:
    """Give the last line of the newest log."""
    texts = sorted((path for path in logs.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    lines = [line for path in texts for line in path.read_text(encoding="utf-8").splitlines()]
    return lines[-1] if lines else "no pod was started"


def measure(platform: str, side: str, data_bytes: int) -> Submission:
    """Measure one submission in a process of its own.

    Args:
        platform: `lepton` or `dgxcloud`.
        side: Whose executor.
        data_bytes: Size of the data in the job folder.

    Raises:
        RuntimeError: The measurement itself failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="cloud-submit-"))
    try:
        command = [sys.executable, __file__, "--measure", platform, side, str(data_bytes), str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=MEASUREMENT_S)
        result = folder / "result.json"
        if not result.exists():
            message = f"{side} on {platform} could not be measured:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            raise RuntimeError(message)
        return Submission(**json.loads(result.read_text(encoding="utf-8")))
    finally:
        shutil.rmtree(folder)


def compare(platform: str) -> list[Comparison]:
    """Measure both sides; with less data once more where nemo-run's own cannot carry all of it.

    Args:
        platform: `lepton` or `dgxcloud`.
    """
    found = []
    for data_bytes in (DATA_BYTES, CARRIED_BYTES):
        stock, ours = (measure(platform, side, data_bytes) for side in SIDES)
        found.append(Comparison(stock, ours, LIMITS[platform]))
        if stock.seconds is not None:
            break
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        0: a measurement is no test, and a busy machine is no failure.
    """
    parser = argparse.ArgumentParser(description="Compare nemo-run's own cloud executors with this library's.")
    parser.add_argument("--platform", choices=tuple(LIMITS), action="append", help="only this one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        platform, side, data_bytes, folder = arguments.measure
        submission = submit(platform, side, int(data_bytes), Path(folder))
        Path(folder, "result.json").write_text(json.dumps(asdict(submission)), encoding="utf-8")
        return 0
    compared = [comparison for platform in arguments.platform or LIMITS for comparison in compare(platform)]
    if arguments.json:
        rows = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in compared]
        print(json.dumps({"comparisons": rows}, indent=2))
        return 0
    print(f"{'platform':<10}{'':<10}{'data (B)':>9}{'workloads':>11}{'API calls':>11}{'seconds':>9}")
    for comparison in compared:
        print(comparison.stock.line(), comparison.ours.line(), comparison.line(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
