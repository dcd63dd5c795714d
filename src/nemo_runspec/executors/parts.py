"""What the tasks of a job become in the job's folder: launch scripts, files and variables."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.launch_script import launch_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemo_runspec.executors.platform import PlatformExecutor, Task
    from nemo_runspec.platforms.workload import JobFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What several tasks become together.

    Args:
        launches: Name of each task -> the text of its launch script.
        files: What else lies in the job's folder.
        env: The variables that all tasks have; a launch script sets those that only its own task has.
        secrets: The secret variables of all of them.
    """

    launches: Mapping[str, str]
    files: JobFiles = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)


def parts_of(executor: PlatformExecutor, tasks: Sequence[Task], *, sources_secrets: bool) -> Parts:
    """Give what an executor's tasks become.

    Args:
        executor: The executor.
        tasks: The tasks.
        sources_secrets: Whether launch scripts read the file with the secrets themselves.

    Raises:
        NemotronError: A secret is not in the environment or differs between tasks, or a file cannot be read.
    """
    launcher = executor.get_launcher()  # type: ignore[attr-defined]  # nemo-run's method
    variables = [executor.variables(task.env) for task in tasks]
    first = variables[0][0]
    shared = {name: value for name, value in first.items() if all(own.get(name) == value for own, _ in variables)}
    secrets = _secrets(tasks, [secret for _, secret in variables])
    files: dict[str, tuple[bytes, bool]] = {}
    launches = {}
    for task, (own, _) in zip(tasks, variables, strict=True):
        files |= executor.files_of(task.name)
        exports = [f"export {name}={shlex.quote(value)}" for name, value in own.items() if name not in shared]
        launches[task.name] = launch_script(
            task.command,
            pre_launch_commands=exports,
            startup_commands=executor.startup_commands,
            folders=[launcher.nsys_folder] if launcher.nsys_profile else [],
            has_secrets=sources_secrets and bool(secrets),
        )
    return Parts(launches=launches, files=files, env=shared, secrets=secrets)


def _secrets(tasks: Sequence[Task], each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for task, secrets in zip(tasks, each, strict=True):
        for name, value in secrets.items():
            if found.setdefault(name, value) != value:
                message = f"the secret {name} of the task '{task.name}' is another one than that of a task beside it"
                raise ProfileError(message, remedy="Give them different names, or run the tasks as jobs of their own.")
    return found
