"""What `doctor.sh` has printed, as values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that jobs write to.

    Args:
        kind: `folder`, `new` or `file`.
        ours: Whether it, or for a new one the folder above, belongs to the user.
        mode: Its permissions.
        free_kib: Space left in KiB, or None where it is not known.
        said: Why it cannot be written to; empty where it can.
        exposed: A folder on the way in which everybody may rename others' folders; empty where there is none.
    """

    kind: str
    ours: bool
    mode: int
    free_kib: int | None
    said: str
    exposed: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What `sbatch --test-only` has answered.

    Args:
        code: Its exit code.
        start_s: Seconds until the expected start, or None where it says none.
        said: Its words.
    """

    code: int
    start_s: int | None
    said: str


@dataclass(slots=True)
class Facts:
    """All that is known of a login node; what gave no answer in time is not in here.

    Args:
        clock: Seconds since the epoch by its clock.
        tools: Program -> version; an empty text for one that is not there.
        folders: Index -> folder.
        paths: Index -> `file`, `folder`, `other` or `nothing`.
        partitions: Partition -> `up` or another state.
        accounts: The user's accounts.
        asked: Question -> exit code and words of the program that was asked.
        submissions: Index of a partition -> what sbatch has said.
    """

    clock: float | None = None
    tools: dict[str, str] = field(default_factory=dict)
    folders: dict[int, Folder] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    partitions: dict[str, str] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)
    asked: dict[str, tuple[int, str]] = field(default_factory=dict)
    submissions: dict[int, Submission] = field(default_factory=dict)


def read_facts(text: str) -> Facts:
    """Read what the script has printed; lines of a login's greeting are passed over."""
    facts = Facts()
    for line in text.splitlines():
        try:
            _read(line.split("\t"), facts)
        except (ValueError, IndexError):
            continue  # not a line of the script's
    return facts


def _read(parts: list[str], facts: Facts) -> None:
    match parts:
        case ["clock", seconds]:
            facts.clock = float(seconds)
        case ["tool", name, version]:
            facts.tools[name] = version
        case ["folder", index, kind, ours, mode, free, said, exposed]:
            free_kib = int(free) if free else None
            facts.folders[int(index)] = Folder(kind, ours == "1", int(mode or "0", 8), free_kib, said, exposed)
        case ["path", index, kind]:
            facts.paths[int(index)] = kind
        case ["partition", name, state]:
            facts.partitions[name] = state
        case ["account", name]:
            facts.accounts.append(name)
        case ["asked", question, code, said]:
            facts.asked[question] = (int(code), said)
        case ["test", index, code, start, said]:
            facts.submissions[int(index)] = Submission(int(code), int(start) if start else None, said)
        case _:
            pass  # a greeting
