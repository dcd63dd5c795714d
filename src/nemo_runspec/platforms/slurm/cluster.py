"""Ask which Slurm cluster a machine belongs to: a number of a job means something on one cluster only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import UnreachableError

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Shell

_CLUSTER: Final = Path(__file__).with_name("remote") / "cluster.sh"
_CALL_S: Final = 10.0
_LONGEST_REASON: Final = 300


def cluster_name(shell: Shell) -> str:
    """Give the name of the cluster that a machine's Slurm programs lead to; nothing where it has no Slurm.

    Args:
        shell: The machine.

    Raises:
        UnreachableError: Slurm does not tell.
    """
    answer = shell.bash(_CLUSTER, timeout_s=_CALL_S)
    if answer.code:
        message = f"Slurm on {shell.label} does not tell which cluster it is: {answer.err.strip()[-_LONGEST_REASON:]}"
        raise UnreachableError(message, remedy="Try again when Slurm answers.")
    return answer.text.strip()
