"""What the values of a Slurm job may be: each arrives exactly as it is written, or is refused with the reason.

The checks are pure and give lists of messages, so that all that is wrong with a job is told at once.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Final

from nemo_runspec.platforms.limits import (
    BASHS,
    KERNEL_STRING_BYTES,
    OURS,
    Kept,
    Limits,
    exec_size,
    kept_problems,
    text_problem,
    value_problems,
    variable_problems,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemo_runspec.platforms.slurm.job import Option

SLURM: Final = Limits(
    label="Slurm",
    value_bytes=KERNEL_STRING_BYTES,
    value_cap=KERNEL_STRING_BYTES,
    argument_bytes=None,
    name_length=63,
    # bash takes no others.
    variable_pattern=re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
)
"""Slurm's rules, in the words that all platforms share."""

# sbatch reads each word of an #SBATCH line into 8 KiB, and does not look whether it fits.
_VALUE_BYTES: Final = 4096
_PATH_BYTES: Final = 4096 - 512

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=@%+,-]+")
_FLAG: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TASK_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_MOUNT_OPTIONS: Final = re.compile(r"[A-Za-z0-9_.=+-]+")
# pyxis writes mounts into a shell function of its own, between double quotes, and from there into a table whose fields
# blanks separate (pyxis_slurmstepd.c, enroot_create_start_config); it splits what it is given at `,` and `:`.
_UNMOUNTABLE: Final = re.compile(r"[\s,:$`\"\\]")
_SHELL: Final = "would be read by a shell of pyxis or split there"

_LOGS: Final = "a job's logs are in its own folder, where they are read"
_NO_JOB: Final = "no job would be submitted"
_KEY: Final = "the key '{}' says it"
_OTHER_FLAGS: Final[Mapping[str, str]] = {
    "job-name": "a job is found again by its name, which is made for it",
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": _LOGS,
    "parsable": "submission reads sbatch's answer",
    "wrap": "the job has a script of its own",
    "array": "a job is one job; nodes and tasks make it wide",
    "wait": "submission does not wait for the job's end",
    "clusters": "the job would be looked for on this cluster",
    "nodes": _KEY.format("nodes"),
    "ntasks": f"{_KEY.format('nodes')}, and 'ntasks_per_node'",
    "ntasks-per-node": _KEY.format("ntasks_per_node"),
    "test-only": _NO_JOB,
    "help": _NO_JOB,
    "usage": _NO_JOB,
    "version": _NO_JOB,
}
"""Flags of sbatch that a profile cannot give, and why."""

_NO_TASK: Final = "no task would be started"
_CODE: Final = "a task starts in the folder of the job's code"
_OTHER_ARGUMENTS: Final[Mapping[str, str]] = {
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": _LOGS,
    "container-image": _KEY.format("container_image"),
    "container-mounts": _KEY.format("mounts"),
    "container-workdir": _CODE,
    "chdir": _CODE,
    "nodes": _KEY.format("nodes"),
    "ntasks": f"{_KEY.format('nodes')}, and 'ntasks_per_node'",
    "ntasks-per-node": _KEY.format("ntasks_per_node"),
    "multi-prog": "every task runs the launch script",
    "pty": "a task has no terminal",
    "jobid": "the tasks run in the job's own allocation",
    "test-only": _NO_TASK,
    "help": _NO_TASK,
    "usage": _NO_TASK,
    "version": _NO_TASK,
}
"""Arguments of srun that a profile cannot give, and why; each of their short forms is below."""
_SHORT: Final[Mapping[str, str]] = {
    "o": "output",
    "e": "error",
    "D": "chdir",
    "h": "help",
    "V": "version",
    "N": "nodes",
    "n": "ntasks",
}

_KEPT: Final[Kept] = (
    *OURS,
    *BASHS,
    (re.compile(r"SLURMD?_.*"), "is Slurm's own and cannot be set"),
    (
        re.compile(r"NNODES|NODE_RANK|MASTER_ADDR|MASTER_PORT"),
        "tells a process its place among the others, which is found out on the nodes, and cannot be set",
    ),
)


def sbatch_line(flag: str, value: str | int | bool) -> str:  # noqa: FBT001 - sbatch's flags have such values
    r"""Give the line of a script that sets a flag; sbatch reads it by rules of its own.

    Quotes of both kinds group, and a backslash protects the next character wherever it stands (get_argument in
    Slurm's src/sbatch/opt.c). Within a line that is a comment for bash.

    Args:
        flag: Its long name, without dashes.
        value: Its value; True for none.
    """
    if value is True:
        return f"#SBATCH --{flag}"
    text = str(value)
    if not _PLAIN.fullmatch(text):
        text = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return f"#SBATCH --{flag}={text}"


def log_path(path: str) -> str:
    """Give a path as it stands in the name of a log, in which `%` begins what Slurm fills in."""
    return path.replace("%", "%%")


def quoted_words(words: Iterable[str]) -> list[str]:
    """Give words as bash takes them, each exactly as it is."""
    return [shlex.quote(word) for word in words]


def line_problem(value: str) -> str | None:
    """Say why a text cannot stand in one line of a script, or None where it can."""
    untold = text_problem(value)
    if untold is not None:
        return untold
    if not value.strip():
        return "is empty"
    found = _CONTROL.search(value)
    if found is not None:
        return f"holds a line break or another control character (U+{ord(found[0]):04X})"
    if len(value.encode()) > _VALUE_BYTES:
        return f"has {len(value.encode()):,} bytes; at most {_VALUE_BYTES:,} can be"
    return None


def home_problems(home: str, *, mounted: bool) -> list[str]:
    """Say what is wrong with the folder on the cluster that holds jobs.

    Args:
        home: The folder.
        mounted: Whether containers see it.
    """
    wrong = line_problem(home)
    if wrong is not None:
        return [wrong]
    if not home.startswith("/"):
        return [f"must be an absolute path on the cluster, not '{home}'"]
    if len(home.encode()) > _PATH_BYTES:
        return [f"has {len(home.encode()):,} bytes; at most {_PATH_BYTES:,} can be"]
    # The path of Python's modules is split at `:`; in the name of a log a backslash stops Slurm from filling in.
    refused = [character for character in ":\\" if character in home]
    told = [f"'{home}' holds '{character}', which is no part of a path in a job" for character in refused]
    if not told and mounted and (found := _UNMOUNTABLE.search(home)):
        told = [f"'{home}' cannot be mounted into a container: '{found[0]}' {_SHELL}"]
    return told


def mount_problem(mount: str) -> str | None:
    """Say why a mount does not reach a container as it is written, or None where it does.

    Args:
        mount: `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`.
    """
    wrong = line_problem(mount)
    if wrong is not None:
        return wrong
    parts = mount.split(":")
    if len(parts) not in (2, 3):
        return f"'{mount}' is not SOURCE:TARGET or SOURCE:TARGET:OPTIONS, and a path cannot hold ':'"
    source, target, *options = parts
    found = _UNMOUNTABLE.search(source + target)
    checks = (
        (found is None, f"holds '{found and found[0]}', which {_SHELL}"),
        (source.startswith("/") or source == "tmpfs", "the source must be an absolute path on the cluster"),
        (target.startswith("/"), "the target must be an absolute path in the container"),
        (all(map(_MOUNT_OPTIONS.fullmatch, options)), "options are words such as ro, with '+' between them"),
    )
    return next((f"'{mount}': {told}" for right, told in checks if not right), None)


def mount_argument(mounts: Iterable[str]) -> str:
    """Give mounts as the one argument that pyxis takes; each is checked by `mount_problem` before."""
    return ",".join(mounts)


def option_problems(options: Iterable[Option]) -> Iterator[tuple[str, str]]:
    """Yield flags of sbatch that cannot be, each with the reason.

    Args:
        options: Flags and their values.
    """
    listed = tuple(options)
    for flag, count in Counter(flag for flag, _ in listed).items():
        reason = _flag_problem(flag, _OTHER_FLAGS)
        if reason is None and count > 1:
            reason = f"is set {count} times"
        if reason is not None:
            yield flag, reason
    for flag, value in listed:
        wrong = line_problem(value) if isinstance(value, str) else None
        if wrong is not None:
            yield flag, wrong


def _flag_problem(flag: str, refused: Mapping[str, str]) -> str | None:
    if not _FLAG.fullmatch(flag) or len(flag) == 1:
        return "is no long name of a flag: small letters and digits, with '-' or '_' between them"
    reason = refused.get(flag)
    # Slurm takes the beginning of a name for the name.
    longer = next((name for name in refused if name.startswith(flag)), None)
    if reason is None and longer is None:
        return None
    return f"cannot be set: {reason or f'it is short for {longer}, and {refused[str(longer)]}'}"


def argument_problems(words: Iterable[str]) -> list[str]:
    """Say which arguments of srun cannot be, and why.

    Args:
        words: The arguments, each with its value behind `=`.
    """
    problems = []
    for word in words:
        wrong = line_problem(word) or _argument_problem(word)
        if wrong is not None:
            shown = f"'{word}' " if text_problem(word) is None else ""
            problems.append(f"{shown}{wrong}")
    return problems


def _argument_problem(word: str) -> str | None:
    if not re.match(r"--?[A-Za-z]", word):
        return "is no option of srun; write an option and its value as one word, such as --mpi=pmix"
    if word.startswith("--"):
        name = word[2:].partition("=")[0]
        return _flag_problem(name, _OTHER_ARGUMENTS)
    long = _SHORT.get(word[1])
    return f"cannot be set: {_OTHER_ARGUMENTS[long]}" if long else None


def task_name_problem(name: str) -> str | None:
    """Say why a task cannot have a name, which is a part of names of files; None where it can."""
    if text_problem(name) is None and _TASK_NAME.fullmatch(name):
        return None
    return f"a task cannot be called {name!r}: letters, digits, '_' and '-', 63 at most"


def setup_problem(lines: str) -> str | None:
    """Say why lines of bash cannot be, or None where they can; what they do is the user's own."""
    untold = text_problem(lines)
    return untold or ("hold a NUL character, which no script can" if "\0" in lines else None)


def variables_problems(env: Iterable[tuple[str, str]], secret_names: Iterable[str] = ()) -> list[str]:
    """Say which variables no job can have, and why; no value is told.

    Args:
        env: Name and value of each variable whose value is known, secrets too.
        secret_names: Names of others.
    """
    pairs = tuple(env)
    names = (*(name for name, _ in pairs), *secret_names)
    problems = [*variable_problems(names, SLURM), *kept_problems(names, _KEPT)]
    problems += value_problems(pairs, SLURM)
    total = exec_size((), pairs) if not problems else 0
    if total > SLURM.exec_bytes:
        problems.append(f"the variables have {total:,} bytes together; a node's kernel takes {SLURM.exec_bytes:,}")
    return problems
