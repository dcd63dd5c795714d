"""What a driver on a Ray cluster runs first: it puts the job in place on every node, and then becomes the job.

It is a file of the package that Ray unpacks as the job's working directory, on each node before the job's first worker
starts there. It needs Python 3.8 and Ray.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = ".nemo_runspec"
"""Folder of the package that holds the job's own files; everything else in it is source."""

ORDERS = "orders.json"
JOB_DIR_VARIABLE = "NEMO_RUNSPEC_JOB_DIR"
CODE_FOLDER = "code"
MARKER = "[nemo-runspec]"
PREPARE_S = 900
"""How long the nodes may take to get ready: repositories are cloned and packages installed then."""

NODES_S = 300
"""How long nodes that the job counts on may be missing."""

LINK = re.compile(rb"(?<![\w./-])/nemo_run(?=[/\s'\"]|$)")
"""Where the job's folder is in the texts of a job; a cluster may run several jobs, so that no link can lead there."""

LAST_BYTES = 4000


def main(package: Path) -> int:
    """Put the job in place on every node and run it.

    Args:
        package: The folder that Ray has unpacked.

    Returns:
        1 where a node cannot be made ready; otherwise it does not return.
    """
    orders = json.loads((package / FILES / ORDERS).read_text(encoding="utf-8"))
    job_dir = os.environ[JOB_DIR_VARIABLE]
    failures = prepare_nodes(orders, job_dir)
    for failure in failures:
        sys.stdout.write(f"{MARKER} {failure}\n")
        sys.stdout.flush()
    if failures:
        return 1
    os.chdir(Path(job_dir, CODE_FOLDER))
    # Signals and the exit code are then the job's own.
    os.execvp(orders["run"][0], inside(orders["run"], job_dir))  # noqa: S606 - the command is a list of words
    return 0


def inside(words: Sequence[str], job_dir: str) -> list[str]:
    """Give a command with the job's folder in the place of what stands for it."""
    return [LINK.sub(os.fsencode(job_dir).replace(b"\\", b"\\\\"), os.fsencode(word)).decode() for word in words]


def prepare_nodes(orders: dict[str, Any], job_dir: str) -> list[str]:
    """Make every node of the cluster ready, all at once, and say what went wrong."""
    import ray  # noqa: PLC0415 - the functions above are of use without it
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - as above

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        nodes = _alive()
        end = time.monotonic() + NODES_S
        while len(nodes) < orders["nodes"] and time.monotonic() < end:
            time.sleep(1)
            nodes = _alive()
        if len(nodes) < orders["nodes"]:
            return [f"the job has {orders['nodes']} nodes, and {len(nodes)} of the cluster are alive"]
        remote = ray.remote(num_cpus=0, max_retries=1)(prepare)
        tasks = [
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(orders, job_dir)
            for node in nodes
        ]
        _, late = ray.wait(tasks, num_returns=len(tasks), timeout=PREPARE_S)
        if late:
            return [f"{len(late)} of {len(tasks)} nodes were not ready after {PREPARE_S} s"]
        return [problem for problem in map(_result, tasks) if problem]
    finally:
        ray.shutdown()


def _alive() -> list[str]:
    import ray  # noqa: PLC0415 - see above

    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's
    return sorted(node["NodeID"] for node in known if node["Alive"])


def _result(task: Any) -> str:  # noqa: ANN401 - Ray's reference
    import ray  # noqa: PLC0415 - see above

    try:
        return str(ray.get(task) or "")
    except ray.exceptions.RayError as error:
        return f"a node cannot be made ready: {error}"


def prepare(orders: dict[str, Any], job_dir: str) -> str:
    """Put the job in place on this node, and run what each node runs first.

    Args:
        orders: What the package says.
        job_dir: The job's folder, on a volume or on the node's own disk.

    Returns:
        What went wrong, or an empty text.
    """
    host = socket.gethostname()
    try:
        place(Path.cwd(), Path(job_dir))
    except OSError as error:
        return f"{host}: {error}"
    if not orders.get("prepare"):
        return ""
    done = subprocess.run(
        inside(orders["prepare"], job_dir),
        cwd=str(Path(job_dir, CODE_FOLDER)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout[-LAST_BYTES:].decode(errors="replace").strip()
        return f"{host}: the commands before the job ended with exit code {done.returncode}:\n{said}"
    return ""


def place(package: Path, job_dir: Path) -> None:
    """Make the job's folder of what Ray has unpacked, unless another node has done so on a volume they share."""
    job_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (job_dir / CODE_FOLDER).exists():
        work = Path(tempfile.mkdtemp(prefix=".partial-", dir=str(job_dir)))
        try:
            code = work / CODE_FOLDER
            shutil.copytree(str(package), str(code), ignore=lambda folder, _: _left_out(folder, package))
            code.chmod(0o755)
            try:
                code.rename(job_dir / CODE_FOLDER)
            except OSError:
                if not (job_dir / CODE_FOLDER).exists():  # otherwise another node was faster
                    raise
        finally:
            shutil.rmtree(str(work), ignore_errors=True)
    for source in sorted((package / FILES).rglob("*")):
        if source.is_file():
            _put(source, job_dir / source.relative_to(package / FILES), job_dir)


def _left_out(folder: str, package: Path) -> set[str]:
    return {FILES} if Path(folder) == package else set()


def _put(source: Path, target: Path, job_dir: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".partial-", dir=str(target.parent))
    with os.fdopen(handle, "wb") as file:
        file.write(LINK.sub(os.fsencode(str(job_dir)).replace(b"\\", b"\\\\"), source.read_bytes()))
    Path(partial).replace(target)


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
