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
_DEPENDENCIES = "_DEPENDENCY_SUPPORTED_EXECUTORS"


def register(executor: type[Executor], scheduler: str, *, keeps_dependencies: bool = False) -> None:
    """Enter an executor class in every table of nemo-run; once is enough, and again does no harm.

    Args:
        executor: The class.
        scheduler: The name of its scheduler's entry point.
        keeps_dependencies: Whether its platform starts a task when others have succeeded; otherwise nemo-run waits.
    """
    schedulers.EXECUTOR_MAPPING[executor] = scheduler
    schedulers.REVERSE_EXECUTOR_MAPPING[scheduler] = executor
    tables = (*_TABLES_OF_EXPERIMENT, *([_DEPENDENCIES] if keeps_dependencies else []))
    for name in tables:
        known = getattr(Experiment, name)
        if executor not in known:
            setattr(Experiment, name, (*known, executor))
    for listed in (JobGroup.SUPPORTED_EXECUTORS, cli.EXECUTOR_CLASSES):
        if executor not in listed:
            listed.append(executor)
