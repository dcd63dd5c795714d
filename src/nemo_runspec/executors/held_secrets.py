"""Secrets among the variables of executors and tasks, which nemo-run writes to disk with everything else."""

from __future__ import annotations

import os
from itertools import cycle
from typing import TYPE_CHECKING, Any

from nemo_run.config import Script
from nemo_run.run.experiment import _current_experiment
from nemo_run.run.job import JobGroup

from nemo_runspec.errors import ProfileError
from nemo_runspec.redaction import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nemo_run import Executor
    from nemo_run.run.job import Job


def without_secrets(
    holder: str, env: Mapping[str, str], named: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Part variables into those that are no secret, and the names of those that are.

    Args:
        holder: Whose variables they are, for the message.
        env: The variables.
        named: Names of variables that are secret, whatever they look like.

    Raises:
        ProfileError: A secret's value is not in the environment, so that it could not be found again by its name.
    """
    secret = {name: value for name, value in env.items() if name in named or is_secret_name(name)}
    lacking = [name for name, value in secret.items() if os.environ.get(name) != value]
    if lacking:
        message = f"{holder} holds the secret {', '.join(lacking)}, which would be written to disk"
        remedy = "Set it in os.environ, and give its name in secrets=[...] of the executor."
        raise ProfileError(message, remedy=remedy)
    return {name: value for name, value in env.items() if name not in secret}, tuple(secret)


def scripts_to_be_written(by: Executor) -> Sequence[tuple[str, Script, Executor]]:
    """Give the scripts of the experiment that is being prepared, each with its task's name and its executor.

    They are the experiment's own copies. nemo-run gives an executor no sight of its task before it has written both,
    so this asks for the experiment in the way that nemo-run's Slurm scheduler does.

    Args:
        by: An executor of the experiment. nemo-run may still remember an earlier experiment, of which nothing is given.
    """
    experiment = _current_experiment.get(None)
    tasks = [task for job in experiment.jobs for task in _tasks(job)] if experiment is not None else []
    if all(executor is not by for _, _, executor in tasks):
        return []
    return [(name, task, executor) for name, task, executor in tasks if isinstance(task, Script)]


def _tasks(job: Job | JobGroup) -> Iterator[tuple[str, Any, Executor]]:
    if isinstance(job, JobGroup):
        executors = job.executors if isinstance(job.executors, list) else [job.executors]
        yield from ((job.id, task, executor) for task, executor in zip(job.tasks, cycle(executors), strict=False))
    else:
        yield job.id, job.task, job.executor
