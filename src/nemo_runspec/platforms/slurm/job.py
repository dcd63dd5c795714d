"""A Slurm job as values, before it has a script: what it asks of Slurm, and the tasks that it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.platforms.workload import job_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_FOLDER: Final = "logs"
EXIT_FOLDER: Final = "exit"

PROFILE_FLAGS: Final = (
    *("account", "partition", "qos", "time", "constraint", "exclusive"),
    *("gres", "gpus_per_node", "mem", "cpus_per_task"),
)
"""Keys of a profile that are flags of sbatch, in the order in which they stand in the script."""

SINGLE_TASK: Final = "task"
"""Begins the names of the files with the logs and exit codes of tasks."""

Option = tuple[str, str | bool | int]
"""A flag of sbatch without its dashes, and its value; True for a flag that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmTask:
    """What a job starts on its nodes with one srun.

    Args:
        name: What it is called among the job's tasks.
        launch: The launch script's name among the job's files.
        nodes: Number of nodes: the first ones of the job's.
        tasks_per_node: How often the launch script runs on each node.
        image: Container image, or None to run without a container.
        mounts: What its container sees of the cluster, as `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`; the job's own
            folder is always there.
        workdir: Folder of the container to start in; without it, the job's code.
        srun_args: More arguments of srun, word for word.
    """

    name: str = SINGLE_TASK
    launch: str = "launch.sh"
    nodes: int = 1
    tasks_per_node: int = 1
    image: str | None = None
    mounts: tuple[str, ...] = ()
    workdir: str | None = None
    srun_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """A job: one allocation, and tasks that run in it at the same time.

    Args:
        home: The profile's folder on the cluster: an absolute path, as all nodes see it.
        tasks: The tasks; they share the nodes.
        options: Flags of sbatch, beside those that this library sets.
        setup_lines: Lines of bash that run on the first node before the tasks start.
        folders: Folders of the cluster that are made before the tasks start, such as that for results.
    """

    home: str
    tasks: tuple[SlurmTask, ...]
    options: tuple[Option, ...] = ()
    setup_lines: str = ""
    folders: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The job's folder on the cluster, with `NAME` in it."""
        return job_folder(self.home)

    @property
    def nodes(self) -> int:
        """Number of nodes: those of the widest task."""
        return max(task.nodes for task in self.tasks)

    @property
    def tasks_per_node(self) -> int:
        """Tasks on each node, of the task that has most."""
        return max(task.tasks_per_node for task in self.tasks)

    @property
    def in_container(self) -> bool:
        """Whether some task runs in a container."""
        return any(task.image for task in self.tasks)

    def label(self, task: SlurmTask) -> str:
        """Give what the files with a task's logs and exit codes begin with: of several tasks, each has its own."""
        return SINGLE_TASK if len(self.tasks) == 1 else f"{SINGLE_TASK}-{task.name}"


def sbatch_options(keys: Mapping[str, Any], additional: Mapping[str, str | bool | int]) -> tuple[Option, ...]:
    """Give the flags of sbatch that a profile asks for.

    Args:
        keys: The profile's keys, of which those in `PROFILE_FLAGS` are taken where they are set; `gres` stands for
            `gpus_per_node` too.
        additional: The profile's `additional_parameters`; False leaves a flag out.
    """
    given = {name: keys.get(name) for name in PROFILE_FLAGS}
    if given["gres"]:
        given["gpus_per_node"] = None
    mine = {name: value for name, value in given.items() if value not in (None, False, 0)}
    # Of memory, 0 means all of it.
    if given["mem"] is not None:
        mine["mem"] = given["mem"]
    listed = (*mine.items(), *((name, value) for name, value in additional.items() if value is not False))
    return tuple((flag_name(name), value) for name, value in listed)


def flag_name(key: str) -> str:
    """Give a flag as sbatch writes it: `-` where a key has `_`."""
    return key.replace("_", "-")
