"""See the package."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import EXIT_USAGE
from nemo_runspec.job_folder import JOB_DIR_VARIABLE
from nemo_runspec.ray_node.daemons import adopt_orphans, cpus, gpus
from nemo_runspec.ray_node.nodes import Job, Signals, run_first, run_other

if TYPE_CHECKING:
    from collections.abc import Sequence


OF_RANKS: Final = frozenset(
    ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
)
"""Variables that tell a process its place in a training."""


def main(arguments: Sequence[str]) -> int:
    """Be one node of a job on Ray.

    Args:
        arguments: Those of the command line.

    Returns:
        The driver's exit code; 75 where a node was lost, 1 where Ray did not start, 2 without Ray.
    """
    parser = argparse.ArgumentParser(prog="python -m nemo_runspec.ray_node", description="Be one node of a job on Ray.")
    parser.add_argument("--nodes", type=int, required=True, help="how many there are")
    parser.add_argument("--node-rank", type=int, required=True, help="which one this is, from 0")
    parser.add_argument("--head-addr", required=True, help="name or address of the first one")
    parser.add_argument("--port", type=int, required=True, help="the port where it listens")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each node, unless Slurm tells")
    parser.add_argument("command", nargs="+", help="the driver, after --")
    given = parser.parse_args(arguments)
    if importlib.util.find_spec("ray") is None:
        sys.stderr.write("error: the job runs on Ray, which is not installed here\n")
        sys.stderr.write("  Take an image that has it, or install ray[default] with startup_commands.\n")
        return EXIT_USAGE
    adopt_orphans()
    # The driver and the workers are processes of Ray's, not ranks of a training that the platform has prepared.
    for name in [name for name in os.environ if name in OF_RANKS or name.startswith("PET_")]:
        del os.environ[name]
    job = Job(
        nodes=given.nodes,
        rank=given.node_rank,
        host=given.head_addr,
        port=given.port,
        cpus=cpus(os.environ),
        gpus=gpus(os.environ, given.gpus),
        command=tuple(given.command),
        key=PurePosixPath(os.environ.get(JOB_DIR_VARIABLE, "")).name,
    )
    signals = Signals()
    try:
        return run_other(job, signals) if job.rank else run_first(job, signals)
    finally:
        signals.ignore()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
