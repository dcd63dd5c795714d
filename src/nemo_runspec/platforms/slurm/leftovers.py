"""Remove what an ended Slurm job has left on its cluster."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import RefusedError

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Shell
    from nemo_runspec.platforms.workload import Submitted

_REMOVE: Final = Path(__file__).parent / "remote" / "remove.sh"
_REMOVE_S: Final = 600.0


class What(Enum):
    """What of a job's folder is removed."""

    ALL = "all"
    SECRETS = "secrets"
    NOTHING = "nothing"
    """It is only looked whether the folder is there."""


def remove_left(shell: Shell, home: str, workload: Submitted, what: What) -> bool:
    """Remove something of a job's folder, and tell whether the folder was there.

    Args:
        shell: Runs scripts on the cluster.
        home: The folder there that holds our jobs.
        workload: The job, of which `status.check` has nothing to say.
        what: What to remove.

    Raises:
        RefusedError: The folder is not ours, or cannot be removed.
        DeniedError: The machine does not let us in.
        UnreachableError: It cannot be reached.
    """
    answer = shell.bash(_REMOVE, home, workload.name, what.value, timeout_s=_REMOVE_S)
    if answer.code:
        told = answer.err.strip()[-300:] or f"exit code {answer.code}"
        message = f"what the job '{workload.name}' has left on {shell.label} cannot be removed: {told}"
        raise RefusedError(message)
    return answer.text.strip() != "gone"
