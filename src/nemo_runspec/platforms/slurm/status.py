"""Ask how a Slurm job stands: one call, in which every source says what it knows."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.slurm.leftovers import What, remove_left
from nemo_runspec.platforms.slurm.states import NEVER, Answers, Record, Source, is_final, judge
from nemo_runspec.platforms.workload import JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemo_runspec.platforms.shell import Shell
    from nemo_runspec.platforms.workload import Submitted

LOOK_S: Final = 20.0
"""How long one look may take: the script gives Slurm 8 s, and the connection may have to be made."""

_SURE_AFTER_S: Final = 30.0
"""For so long nobody knows a job that has a folder before it counts as lost: accounting may hear of its end late."""

_LOOK: Final = Path(__file__).parent / "remote" / "look.sh"
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NOT_KNOWN: Final = ("Invalid job id", "Invalid job/step specified", "Job not found")
_NO_ACCOUNTING: Final = ("accounting storage is disabled", "Slurm accounting is not configured")
_MEMORY: Final = "memory"
_NOT_THERE: Final = 127
_TIMED_OUT: Final = frozenset({124, 137})
_QUEUE_FIELDS: Final = 6
_ACCOUNT_FIELDS: Final = 5
_CODE: Final = re.compile(r"(\d{1,3}):(\d{1,3})")
_UNSET: Final = frozenset({"", "None", "(null)", "N/A", "Unknown", "NONE"})
_FIELD: Final = re.compile(r"(?:^|\s)(\w+)=(\S*)")


def look(shell: Shell, home: str, workload: Submitted, *, patience: Patience | None = None) -> Seen:
    """Say how a job stands; a machine that cannot be reached is an answer too.

    Whoever sees that a job is over removes its file of secrets, where it is still there.

    Args:
        shell: Runs scripts on the cluster.
        home: The folder there that holds our jobs.
        workload: The job.
        patience: How long to wait.

    Raises:
        DeniedError: The machine does not let us in.
        RefusedError: This is no job of Slurm's.
    """
    patience = patience or Patience()
    sure_at = patience.clock() + _SURE_AFTER_S
    while True:
        seen, has_folder = _look_once(shell, home, workload)
        if seen.state is not JobState.LOST or not has_folder or patience.clock() >= sure_at:
            return seen
        patience.sleep(patience.poll_s)


def check(workload: Submitted) -> None:
    """Refuse what cannot be a job of ours, before its name and number are used on a cluster.

    Raises:
        RefusedError: Its name or number is none.
    """
    if not _NAME.fullmatch(workload.name) or not re.fullmatch(r"[0-9]{1,12}", workload.id):
        message = f"'{workload.name}' with the number '{workload.id}' is no Slurm job of ours"
        raise RefusedError(message)


def _look_once(shell: Shell, home: str, workload: Submitted) -> tuple[Seen, bool]:
    """Look, and tell whether the job's folder is there."""
    check(workload)
    try:
        answer = shell.bash(_LOOK, home, workload.name, workload.id, timeout_s=LOOK_S)
    except UnreachableError:
        return Seen(JobState.UNREACHABLE), True
    answers = parse(answer.text, workload)
    if answers is None:
        return Seen(JobState.UNREACHABLE), True
    seen = judge(answers)
    if seen.state.is_final and answers.has_secrets and not answers.is_queued:
        # A job removes them itself, unless it has never run or was killed.
        with suppress(UnreachableError, RefusedError):
            remove_left(shell, home, workload, What.SECRETS)
    return seen, answers.has_folder


@dataclass(slots=True)
class _Said:
    """What a program has printed, line by line, and how it has ended."""

    code: int
    lines: list[str] = field(default_factory=list)


def parse(text: str, workload: Submitted) -> Answers | None:
    """Read what look.sh prints.

    Args:
        text: Its output.
        workload: The job that was asked about; what belongs to another one of the same number is left out.

    Returns:
        Who has said what; None where the output is not whole.
    """
    said: dict[str, _Said] = {}
    exits: dict[int, int] = {}
    tasks: list[int] = []
    starved: set[int] = set()
    attempt = 0
    facts: set[str] = set()
    for line in text.split("\n"):
        match line.split("\t"):
            case ["code", program, code]:
                said[program] = _Said(int(code))
            case ["out", program, *rest] if program in said:
                said[program].lines.append("\t".join(rest))
            case ["exit", "job", which, code, why] if code.strip().isdecimal():
                exits[int(which)] = int(code)
                starved |= {int(which)} if why == _MEMORY else set()
            case ["exit", _, _, code, _] if code.strip().isdecimal():
                tasks.append(int(code))
            case ["attempt", which]:
                attempt = int(which)
            case [fact]:
                facts.add(fact)
    if "end" not in facts:
        return None
    return Answers(
        squeue=_source(said.get("squeue"), lambda lines: _queued(lines, workload)),
        scontrol=_source(said.get("scontrol"), lambda lines: _controlled(lines, workload)),
        sacct=_source(said["sacct"], lambda lines: _accounted(lines, workload)) if "sacct" in said else None,
        exits=exits,
        starved=frozenset(starved),
        task_exits=tuple(tasks),
        attempt=attempt,
        has_secrets="secrets" in facts,
        has_folder="folder" in facts,
    )


def _source(said: _Said | None, record: Callable[[Sequence[str]], Record | None]) -> Source:
    """Tell a program that does not know the job from one that could not tell."""
    if said is None:
        return Source(trouble="it was not asked")
    found = record(said.lines)
    if found is not None:
        return Source(answered=True, record=found)
    told = " ".join(said.lines)
    if any(text in told for text in _NOT_KNOWN):
        return Source(answered=True)
    if said.code == 0:
        # A program may say that it could not ask and still end with 0.
        return Source(answered="error:" not in told, trouble=told)
    if said.code == _NOT_THERE or any(text in told for text in _NO_ACCOUNTING):
        return Source(trouble=told, exists=False)
    return Source(trouble="no answer in time" if said.code in _TIMED_OUT else told)


def _queued(lines: Sequence[str], workload: Submitted) -> Record | None:
    """Read squeue's rows; of a job with several parts, the one that goes on longest tells."""
    rows = [line.split("|", 5) for line in lines if line.startswith("row|")]
    ours = [row for row in rows if len(row) == _QUEUE_FIELDS and row[5] == workload.name]
    records = [Record(state, _set(reason), _set(start)) for _, _, state, reason, start, _ in ours]
    return next((record for record in records if not is_final(record.state)), records[0] if records else None)


def _controlled(lines: Sequence[str], workload: Submitted) -> Record | None:
    records: list[Record] = []
    for line in lines:
        fields: dict[str, str] = {}
        for key, value in _FIELD.findall(line):
            fields.setdefault(key, value)
        if fields.get("JobName") == workload.name and "JobState" in fields:
            restarts = fields.get("Restarts", "")
            records.append(
                Record(
                    fields["JobState"],
                    _reason(fields),
                    _set(fields.get("StartTime", "")),
                    _exit_code(fields.get("ExitCode", "")),
                    int(restarts) if restarts.isdecimal() else 0,
                )
            )
    return next((record for record in records if not is_final(record.state)), records[0] if records else None)


def _reason(fields: Mapping[str, str]) -> str:
    """Give why a job waits; that it waits in vain stands in its dependencies before Slurm says so."""
    dependency = fields.get("Dependency", "")
    in_vain = fields["JobState"] in {"PENDING", "CANCELLED"} and "(failed)" in dependency and "?" not in dependency
    return NEVER if in_vain else _set(fields.get("Reason", ""))


def _accounted(lines: Sequence[str], workload: Submitted) -> Record | None:
    """Read sacct's rows, one for each time that the job was started, the last one last."""
    rows = [line.split("|", 4) for line in lines]
    ours = [row for row in rows if len(row) == _ACCOUNT_FIELDS and row[4] == workload.name and row[1] != "RESIZING"]
    if not ours:
        return None
    _, word, code, _, _ = max(reversed(ours), key=lambda row: row[3])
    return Record(word.split(" ")[0], code=_exit_code(code), restarts=len(ours) - 1, word=word)


def _exit_code(text: str) -> tuple[int, int] | None:
    found = _CODE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def _set(text: str) -> str:
    return "" if text in _UNSET else text
