"""`launch.sh`: what each pod of a cloud job runs, as one text for a dry-run and for the job."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover import JOB_LINK
from nemo_runspec.data_mover.pod.variables import CODE_FOLDER, JOB_DIR_VARIABLE
from nemo_runspec.platforms.contents import SECRETS_FILE
from nemo_runspec.words import startup_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

LAUNCH_SCRIPT: Final = "launch.sh"
"""The script's name among the job's files."""

LAUNCH_COMMAND: Final = ("bash", f"{JOB_LINK}/{LAUNCH_SCRIPT}")
"""What each pod runs when the job's files are there."""

_JOB_DIR: Final = f'"${JOB_DIR_VARIABLE}"'
"""The job's folder as the shell has it, quoted: also where `/nemo_run` cannot lead there."""


def launch_script(
    command: str,
    *,
    pip_extras: Iterable[str] = (),
    pre_launch_commands: Iterable[str] = (),
    startup_commands: Iterable[str] = (),
    clone_lines: Iterable[str] = (),
    folders: Iterable[str] = (),
    has_secrets: bool = False,
) -> str:
    """Give the text of the launch script. A step that fails ends the job, and says which one it was.

    Args:
        command: One command with its arguments, quoted for a shell, such as `shlex.join` gives it. `$NAME` in it is
            the pod's variable. The script becomes that command, so that signals reach it and its exit code is the
            pod's.
        pip_extras: Requirements to install first.
        pre_launch_commands: Shell commands to run before the startup commands.
        startup_commands: Shell commands to run before the command.
        clone_lines: Shell lines that fetch git repositories, before everything else.
        folders: Folders below `/nemo_run` that the command expects.
        has_secrets: Whether secret variables lie in a file of the job's folder.
    """
    extras = [shlex.quote(extra) for extra in pip_extras]
    steps = [f"mkdir -p {_JOB_DIR}/{shlex.quote(folder)}" for folder in folders]
    steps += clone_lines
    if extras:
        steps.append(f"python -m pip install --quiet --no-input {' '.join(extras)}")
    steps += [*pre_launch_commands, *startup_commands]
    lines = ["#!/usr/bin/env bash", "set -e", f"cd {_JOB_DIR}/{CODE_FOLDER}"]
    if has_secrets:
        lines.append(f"{{ set +vx; }} 2>/dev/null; . {_JOB_DIR}/{SECRETS_FILE}")
    return "\n".join([*lines, *startup_lines(steps), f"exec {command}", ""])


def launch_names(tasks: Iterable[str]) -> dict[str, str]:
    """Give the name of each task's launch script among the job's files.

    Args:
        tasks: The tasks' names.
    """
    names = list(tasks)
    return {name: f"launch-{number}.sh" if len(names) > 1 else LAUNCH_SCRIPT for number, name in enumerate(names)}
