"""Groups of tasks that become one job: one allocation, one set of containers, one state.

nemo-run merges the tasks of a group only for executor classes that it knows by identity, and tells of any other group
the state of its first task: https://github.com/NVIDIA-NeMo/Run, release 0.11.1, `run/job.py`, class JobGroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_run.run.experiment import _current_experiment
from nemo_run.run.job import JobGroup

from nemo_runspec.errors import ProfileError

if TYPE_CHECKING:
    from nemo_run import Executor


def merge_own_group(executor: Executor) -> None:
    """Have nemo-run make one job of the group that an executor belongs to; it is called before the group is packaged.

    Args:
        executor: The executor of the group's first task, whose resources the job has.

    Raises:
        ProfileError: Another task of the group has another executor, which nobody would ask.
    """
    experiment = _current_experiment.get(None)
    for job in experiment.jobs if experiment is not None else ():
        if isinstance(job, JobGroup) and job.executor is executor:
            if isinstance(job.executors, list) and any(other != executor for other in job.executors):
                message = f"the tasks of the group '{job.id}' become one job, and their executors differ"
                remedy = "Give the group one executor, and each task its own env; or add the tasks one by one."
                raise ProfileError(message, remedy=remedy)
            job._merge = True  # noqa: SLF001 - the switch that its constructor sets for nemo-run's own classes
            job.executors = executor
