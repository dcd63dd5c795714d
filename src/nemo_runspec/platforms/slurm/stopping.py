"""Cancel Slurm jobs, and remove what they have left on the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import DeniedError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.slurm.leftovers import What, remove_left
from nemo_runspec.platforms.slurm.status import check, look
from nemo_runspec.platforms.workload import Cause, JobState, Submitted

if TYPE_CHECKING:
    from nemo_runspec.platforms.shell import Answer, Shell

STOP_S: Final = 60.0
"""How long a job may take to end after Slurm was told: sites let it clean up for about 30 s (KillWait)."""

_REMOTE: Final = Path(__file__).parent / "remote"
_CALL_S: Final = 40.0
_LOOK_EVERY_S: Final = 2.0
_NOT_OURS: Final = 77


def cancel(shell: Shell, home: str, workload: Submitted, *, patience: Patience | None = None) -> None:
    """End a job, whatever it is doing, and return when it has ended; one that has ended or is not known is fine.

    Its file of secrets is removed then.

    Args:
        shell: Runs scripts on the cluster.
        home: The folder there that holds our jobs.
        workload: The job.
        patience: How long to wait.

    Raises:
        RefusedError: The number is now that of a job that is not ours.
        DeniedError: Slurm or the machine does not let us.
        UnreachableError: Slurm could not be told, or did not say for as long as the deadline that the job has ended.
        PlatformError: Slurm was told, and has not ended it.
    """
    check(workload)
    patience = patience or Patience()
    end = patience.clock() + min(patience.stop_s, STOP_S)
    told: PlatformError | None = None
    while True:
        try:
            _tell(shell, workload)
            break
        except UnreachableError as error:
            told = error
        if patience.clock() + patience.poll_s > end:
            raise told
        patience.sleep(patience.poll_s)
    wait_s = patience.first_wait_s
    while not (seen := look(shell, home, workload, patience=patience)).state.is_final:
        if patience.clock() + wait_s > end:
            message = f"Slurm was told to cancel the job '{workload.name}', which is {seen.word or seen.state.value}"
            remedy = f"Look later whether it has ended: squeue -j {workload.id}"
            if seen.state is JobState.UNREACHABLE:
                raise UnreachableError(message, remedy=remedy)
            raise PlatformError(message, remedy=remedy)
        patience.sleep(wait_s)
        wait_s = min(2 * wait_s, _LOOK_EVERY_S)
    remove_left(shell, home, workload, What.SECRETS)


def remove(shell: Shell, home: str, workload: Submitted, *, patience: Patience | None = None) -> None:
    """Remove the folder of a job that has ended; nothing left is fine.

    Args:
        shell: Runs scripts on the cluster.
        home: The folder there that holds our jobs.
        workload: The job.
        patience: How long to wait.

    Raises:
        RefusedError: It has not ended, or its folder is not ours, or cannot be removed.
        DeniedError: The machine does not let us in.
        UnreachableError: Whether it has ended cannot be asked.
    """
    check(workload)
    if not remove_left(shell, home, workload, What.NOTHING):
        return
    seen = look(shell, home, workload, patience=patience)
    if seen.state in {JobState.UNREACHABLE, JobState.UNKNOWN}:
        message = f"whether '{workload.name}' has ended cannot be told, so that nothing of it is removed"
        raise UnreachableError(message, remedy="Try again later.")
    if not seen.state.is_final:
        message = f"'{workload.name}' is {seen.state.value}; only what an ended job has left is removed"
        raise RefusedError(message, remedy="Cancel it first.")
    if seen.cause is Cause.NEVER:  # it is over, and still in the queue
        _tell(shell, workload)
    remove_left(shell, home, workload, What.ALL)


def _tell(shell: Shell, workload: Submitted) -> None:
    answer = shell.bash(_REMOTE / "cancel.sh", workload.name, workload.id, timeout_s=_CALL_S)
    if answer.code == _NOT_OURS:
        message = f"Slurm does not let us cancel the job '{workload.name}': {_complaint(answer)}"
        raise DeniedError(message)
    if answer.code or not answer.text.strip():
        message = f"{shell.label} could not tell Slurm to cancel the job '{workload.name}': {_complaint(answer)}"
        raise UnreachableError(message, remedy="Cancel it again.")
    if answer.text.split()[-1] == "other":
        message = f"Slurm's job {workload.id} is not '{workload.name}', which it must have forgotten since"
        raise RefusedError(message)


def _complaint(answer: Answer) -> str:
    return answer.err.strip()[-300:] or f"exit code {answer.code}"
