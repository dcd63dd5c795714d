"""How a Slurm job stands, judged by what its exit files, `squeue`, `scontrol` and `sacct` say, as far as they answer.

A source that does not answer says nothing, and one that has answered may be behind the others:

1. Slurm's controller (squeue, scontrol) knows best, because only it knows that a job will be run again.
2. The exit file tells the job's own exit code, and stands alone where the controller has forgotten or does not answer.
3. Accounting (sacct) is asked where the controller does not know the job, and is some seconds late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import SIGNAL_BASE
from nemo_runspec.platforms.workload import Cause, JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER: Final = "DependencyNeverSatisfied"
"""Slurm's reason for a job that waits for one that has not succeeded; it leaves such a job in its queue for good."""

_STATES: Final[Mapping[str, JobState]] = {
    "PENDING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.QUEUED,
    "RESV_DEL_HOLD": JobState.QUEUED,
    "SPECIAL_EXIT": JobState.QUEUED,
    "CONFIGURING": JobState.STARTING,
    "POWER_UP_NODE": JobState.STARTING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "COMPLETING": JobState.STOPPING,
    "STAGE_OUT": JobState.STOPPING,
    "COMPLETED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    # The job of another cluster of a federation runs instead, which this one says nothing about.
    "REVOKED": JobState.LOST,
}
_CAUSES: Final[Mapping[str, Cause]] = {
    "BOOT_FAIL": Cause.NODE,
    "DEADLINE": Cause.TIMEOUT,
    "LAUNCH_FAILED": Cause.LAUNCH,
    "NODE_FAIL": Cause.NODE,
    "OUT_OF_MEMORY": Cause.MEMORY,
    "PREEMPTED": Cause.PREEMPTED,
    "TIMEOUT": Cause.TIMEOUT,
}
# How accounting closes the record of an attempt after which there may be another one.
_MAYBE_AGAIN: Final = frozenset({"BOOT_FAIL", "LAUNCH_FAILED", "NODE_FAIL", "PREEMPTED", "REQUEUED", "REVOKED"})
_NOT_LAUNCHED: Final = frozenset({"JobLaunchFailure", "launch_failed_requeued_held"})
_WAITED: Final = "Dependency"  # it waited for another job when it was cancelled
_LAST_SIGNAL: Final = 64
_NO_LAUNCH: Final = 53  # in the place of a signal, where the batch script's output could not be opened


@dataclass(frozen=True, slots=True)
class Record:
    """What a program says about a job.

    Args:
        state: Slurm's word in its long form, such as `PENDING` or `OUT_OF_MEMORY`.
        reason: Why it waits or has ended; empty where Slurm gives none.
        start: When it is expected to start or has started, as `2026-11-20T12:34:56` in UTC; empty where not known.
        code: Its exit code, and the signal that ended it or 0; None where not told.
        restarts: How often it was started again.
        word: The state as it is shown, such as `CANCELLED by 1000`.
    """

    state: str
    reason: str = ""
    start: str = ""
    code: tuple[int, int] | None = None
    restarts: int = 0
    word: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What one program has answered.

    Args:
        answered: Whether it has said anything that counts, which also not knowing the job does.
        record: The job; None where it does not know it, or has not answered.
        trouble: Why it has not answered.
        exists: Whether there is such a program with something behind it; a cluster may have no accounting.
    """

    answered: bool = False
    record: Record | None = None
    trouble: str = ""
    exists: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything that was said about one job.

    Args:
        squeue: The queue.
        scontrol: The controller's record.
        sacct: Accounting; None where it was not asked.
        exits: Attempt -> the job's own exit code, from its file.
        starved: The attempts whose file says that there was no more memory.
        task_exits: The exit codes of the tasks of the last attempt, where the job has not told its own.
        attempt: The last attempt that has left a file; 0 where none has.
        has_secrets: Whether its file of secrets is there.
        has_folder: Whether its folder is there.
    """

    squeue: Source = field(default_factory=Source)
    scontrol: Source = field(default_factory=Source)
    sacct: Source | None = None
    exits: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    starved: frozenset[int] = frozenset()
    task_exits: tuple[int, ...] = ()
    attempt: int = 0
    has_secrets: bool = False
    has_folder: bool = False

    @property
    def is_queued(self) -> bool:
        """Whether it is in the queue, where a job may also wait in vain."""
        records = (self.squeue.record, self.scontrol.record)
        return any(record is not None and not is_final(record.state) for record in records)


def is_final(word: str) -> bool:
    """Tell whether Slurm's word for a state means that the job is over."""
    return _STATES.get(word, JobState.UNKNOWN).is_final


def judge(answers: Answers) -> Seen:
    """Say how a job stands.

    Args:
        answers: What was said about it.
    """
    controller = _controller(answers)
    account = answers.sacct.record if answers.sacct else None
    attempt = max(answers.attempt, controller.restarts if controller else 0, account.restarts if account else 0)
    told = _Told(
        attempt,
        answers.exits.get(attempt),
        answers.task_exits if attempt == answers.attempt else (),
        Cause.MEMORY if attempt in answers.starved else None,
    )
    if controller is not None:
        return _known(controller, account, told)
    if answers.squeue.answered or answers.scontrol.answered:
        return _forgotten(answers.sacct, told)
    return _unseen(answers, told)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the files of the last attempt tell: the job's own exit code, those of its tasks, and why it failed."""

    attempt: int
    code: int | None
    tasks: tuple[int, ...]
    cause: Cause | None

    @property
    def failure(self) -> int | None:
        """The exit code of a failure; a task that was ended because another one failed counts last."""
        if self.code:
            return self.code
        failed = [code for code in self.tasks if code]
        return min(failed, key=lambda code: code > SIGNAL_BASE, default=None)


def _controller(answers: Answers) -> Record | None:
    """Join the two records of the controller: the queue is asked first, and says less."""
    queue, control = answers.squeue.record, answers.scontrol.record
    if queue is None or control is None or queue.state != control.state:
        return queue if control is None else control  # the second has answered after the first
    return Record(
        state=queue.state,
        reason=control.reason or queue.reason,
        start=queue.start,
        code=control.code,
        restarts=control.restarts,
        word=queue.word,
    )


def _known(record: Record, account: Record | None, told: _Told) -> Seen:
    """Judge a job that the controller knows."""
    state = _STATES.get(record.state, JobState.UNKNOWN)
    if state.is_final or record.reason == NEVER:
        return _ended(record, told)
    if told.code is not None and state in {JobState.RUNNING, JobState.STOPPING}:
        # Its script is at its end. How the job ends is Slurm's to say: a limit or a cancelling may have ended the
        # script, and on a node that Slurm has lost it has, while Slurm starts another.
        if account is not None and account.state in {"COMPLETED", "FAILED"}:
            return _ended(account, told)
        return Seen(JobState.STOPPING, record.word or record.state, attempt=told.attempt)
    return Seen(state, _waiting_word(record), attempt=told.attempt)


def _forgotten(account: Source | None, told: _Told) -> Seen:
    """Judge a job that the controller says not to know: it is over."""
    record = account.record if account else None
    if record is not None and is_final(record.state):
        return _ended(record, told)
    if told.code is not None:
        return _by_file(told)
    if account is not None and (account.answered or not account.exists):
        # Accounting that still has it running was never told of its end.
        word = f"{record.state} in accounting, not in the queue" if record else "neither in the queue nor in accounting"
        return Seen(JobState.LOST, word, attempt=told.attempt)
    return Seen(JobState.UNKNOWN, "not in the queue, and accounting does not answer", attempt=told.attempt)


def _unseen(answers: Answers, told: _Told) -> Seen:
    """Judge a job while the controller does not answer."""
    account = answers.sacct
    record = account.record if account else None
    if record is not None:
        state = _STATES.get(record.state, JobState.UNKNOWN)
        if state.is_final and record.state not in _MAYBE_AGAIN:
            return _ended(record, told)
        if told.code is None or record.state in _MAYBE_AGAIN:
            word = f"{record.state} in accounting; Slurm's controller does not answer"
            return Seen(JobState.UNKNOWN if state.is_final else state, word, attempt=told.attempt)
    if told.code is not None:
        return _by_file(told)
    if account is not None and account.answered:
        word = "not in accounting, and Slurm's controller does not answer"
        return Seen(JobState.UNKNOWN, word, attempt=told.attempt)
    trouble = answers.squeue.trouble or answers.scontrol.trouble
    return Seen(JobState.UNREACHABLE, f"Slurm's controller does not answer: {trouble}", attempt=told.attempt)


def _by_file(told: _Told) -> Seen:
    state = JobState.FAILED if told.code else JobState.SUCCEEDED
    cause = told.cause if told.code else None
    return Seen(state, f"exit code {told.code}", exit_code=told.code, cause=cause, attempt=told.attempt)


def _ended(record: Record, told: _Told) -> Seen:
    """Judge a job of which Slurm says that it is over."""
    state = _STATES.get(record.state, JobState.UNKNOWN)
    word = record.word or record.state
    if record.reason == NEVER:
        return Seen(JobState.FAILED, f"{word} ({NEVER})", cause=Cause.NEVER, attempt=told.attempt)
    cause = _CAUSES.get(record.state)
    if state is JobState.CANCELLED and record.reason == _WAITED:
        word = f"{word} ({_WAITED})"
    if state is JobState.SUCCEEDED and told.code:
        state, word = JobState.FAILED, f"{word}, with exit code {told.code}"
    if state is JobState.SUCCEEDED:
        return Seen(state, word, exit_code=0, attempt=told.attempt)
    if state is JobState.CANCELLED or state is JobState.LOST or cause is not None:
        return Seen(state, word, exit_code=told.failure, cause=cause, attempt=told.attempt)
    if told.failure is None and (record.reason in _NOT_LAUNCHED or record.code == (0, _NO_LAUNCH)):
        return Seen(state, word, cause=Cause.LAUNCH, attempt=told.attempt)
    return Seen(state, word, exit_code=told.failure or _status(record.code), cause=told.cause, attempt=told.attempt)


def _status(code: tuple[int, int] | None) -> int | None:
    """Give Slurm's `code:signal` as a shell tells it; None where it tells no failure."""
    if code is None:
        return None
    status, signal = code
    if 0 < signal <= _LAST_SIGNAL:
        return SIGNAL_BASE + signal
    return status or None


def _waiting_word(record: Record) -> str:
    """Give Slurm's word with its reason, and with the time at which the job is expected to start."""
    word = record.word or record.state
    if not record.reason or record.state not in {"PENDING", "SPECIAL_EXIT", "REQUEUE_HOLD", "RESV_DEL_HOLD"}:
        return word
    word = f"{word} ({record.reason})"
    minute = record.start[:16].replace("T", " ")
    return f"{word}, start expected {minute} UTC" if minute else word
