"""The client that keeps a detached local job going: `python -m nemo_runspec.submit.detached NAME JOB_DIR PROCESSES`."""

from __future__ import annotations

import sys
from pathlib import Path

from nemo_runspec.without_torch import without_torch


def main(name: str, job_dir: str, processes: str) -> None:
    """Run a job's launch script through an Experiment; the environment is this process's own.

    Args:
        name: The recipe's name.
        job_dir: The job's folder.
        processes: How many processes the job starts, for nemo-run's record.
    """
    from nemo_run import LocalExecutor  # noqa: PLC0415 - takes seconds to import

    from nemo_runspec.submit.experiment import run_experiment  # noqa: PLC0415 - beside nemo-run's own import

    run_experiment(name, Path(job_dir), LocalExecutor(ntasks_per_node=int(processes)))


if __name__ == "__main__":
    with without_torch():
        main(*sys.argv[1:])
