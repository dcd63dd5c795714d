"""What nemo-run has to know of an executor class that is not its own.

nemo-run finds schedulers by entry points, and executors by the identity of their class, in tables that it exports
for nobody: https://github.com/NVIDIA-NeMo/Run, release 0.11.1, `run/torchx_backend/schedulers/api.py`,
`run/experiment.py`, `run/job.py` and `cli/api.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_run.cli import api as cli
from nemo_run.run.experiment import Experiment
from nemo_run.run.job import JobGroup
from nemo_run.run.torchx_backend.schedulers import api as schedulers

if TYPE_CHECKING:
    from nemo_run import Executor

_TABLES_OF_EXPERIMENT = ("_PARALLEL_SUPPORTED_EXECUTORS", "_DETACH_SUPPORTED_EXECUTORS")


def register(executor: type[Executor], scheduler: str) -> None:
    """Enter an executor class in every table of nemo-run; once is enough, and again does no harm.

    Dependencies between tasks are nemo-run's to keep, by waiting: neither cloud has them.

    Args:
        executor: The class.
        scheduler: The name of its scheduler's entry point.
    """
    schedulers.EXECUTOR_MAPPING[executor] = scheduler
    schedulers.REVERSE_EXECUTOR_MAPPING[scheduler] = executor
    for name in _TABLES_OF_EXPERIMENT:
        known = getattr(Experiment, name)
        if executor not in known:
            setattr(Experiment, name, (*known, executor))
    for listed in (JobGroup.SUPPORTED_EXECUTORS, cli.EXECUTOR_CLASSES):
        if executor not in listed:
            listed.append(executor)
