"""What each cloud platform refuses, so that it can be told before anything is sent.

The checks are pure and give lists of messages: all that is wrong with a job is told at once.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

POINTER_BYTES: Final = 8
"""The kernel counts a pointer for each argument and each variable (execve(2), Limits on size of arguments)."""

KERNEL_STRING_BYTES: Final = 32 * 4096 - 1
"""Longest argument, or `NAME=value`, that execve takes: MAX_ARG_STRLEN, 32 pages of 4 KiB, less the NUL at its end."""

_EXEC_BYTES: Final = 2 * 1024 * 1024 - 128 * 1024
_OBJECT_BYTES: Final = 1_572_864
# Both platforms' rules for names of variables, in the words of Kubernetes' IsEnvVarName; a shell takes fewer.
_VARIABLE: Final = re.compile(r"[A-Za-z._-][A-Za-z0-9._-]*")


_PLACE: Final = "RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|GROUP_RANK|NODE_RANK|NNODES|MASTER_ADDR|MASTER_PORT"
Kept = tuple[tuple[re.Pattern[str], str], ...]
"""Patterns of names of variables that a job cannot set, each with the reason."""

OURS: Final[Kept] = ((re.compile(r"NEMO_RUNSPEC_.*"), "is this library's own and cannot be set"),)

BASHS: Final[Kept] = (
    (
        re.compile(
            r"BASH.*|COMP_.*|EPOCH.*|DIRSTACK|EUID|FUNCNAME|GROUPS|HISTCMD|IFS|LINENO|OLDPWD|OPTARG|OPTERR|OPTIND|"
            r"PIPESTATUS|POSIXLY_CORRECT|PPID|PS4|PWD|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|_"
        ),
        "is bash's own, which would change or run it",
    ),
)
"""Those that do not pass through bash as they are (bash(1), Shell Variables)."""

_KEPT: Final[Kept] = (
    *OURS,
    (re.compile(r"LEPTON_JOB_.*"), "is Lepton's own and cannot be set"),
    (re.compile(r"RUNAI_.*"), "is run:ai's own and cannot be set"),
    (
        re.compile(rf"{_PLACE}|WORKER_ADDRS|PET_.*"),
        "tells a process its place among the others, which each pod finds out for itself, and cannot be set",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One platform's rules.

    Args:
        label: The platform's name for messages.
        value_bytes: What one transport variable may hold when values are cut into chunks; below `value_cap`.
        value_cap: Bytes that the value of a variable may have at most.
        argument_bytes: Bytes of the command as one string, where the platform takes it as one; None where it takes
            a list.
        exec_bytes: Bytes of arguments and environment together, as `exec_size` counts them, less what the platform
            and the image add.
        object_bytes: Bytes of the request's body.
        name_length: Characters of a workload's name.
        refused_endings: What a name must not end with.
        variable_pattern: What the whole name of a variable matches.
        reserved_variables: Variables that only the platform sets.
        reserved_mounts: Folders that no volume may be mounted on; folders below them are allowed.
        job_fields: Dotted fields of a job's specification that its other keys make, and `custom_spec` must not.
        needed: Key that the platform cannot do without -> an example of its value.
        notes: Field -> where its value comes from.
    """

    label: str
    value_bytes: int
    value_cap: int
    argument_bytes: int | None
    exec_bytes: int = _EXEC_BYTES
    object_bytes: int = _OBJECT_BYTES
    name_length: int
    refused_endings: tuple[str, ...] = ()
    variable_pattern: re.Pattern[str] = _VARIABLE
    reserved_variables: frozenset[str] = frozenset()
    reserved_mounts: frozenset[str] = frozenset({"/"})
    job_fields: tuple[str, ...] = ()
    needed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


_COMMON_NOTES = {
    "exec_bytes": "a quarter of the usual 8 MiB stack (execve(2)), less 128 KiB for what others add",
    "object_bytes": "etcd's default request limit, 1.5 MiB (https://etcd.io/docs/v3.5/dev-guide/limit/)",
}

_LEPTON_FOLDERS: Final = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/media", "/opt", "/run", "/sbin", "/srv", "/var"),
        *("/proc", "/proc/bus", "/proc/sys", "/sys", "/sys/fs/cgroup", "/sys/kernel/security"),
        *("/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin"),
    )
)

_LEPTON = Limits(
    label="Lepton",
    value_bytes=96 * 1024,
    value_cap=KERNEL_STRING_BYTES,
    argument_bytes=None,
    name_length=36,
    refused_endings=("by-lepton",),
    reserved_variables=frozenset(
        {
            "LEPTON_CLASSIC",
            "LEPTON_DEPLOYMENT_NAME",
            "LEPTON_JOB_NAME",
            "LEPTON_PHOTON_ID",
            "LEPTON_PHOTON_NAME",
            "LEPTON_RESOURCE_ACCELERATOR_TYPE",
            "LEPTON_WORKSPACE_ID",
            "LEPTON_WORKSPACE_ORIGIN_URL",
        }
    ),
    reserved_mounts=_LEPTON_FOLDERS,
    job_fields=("affinity", "completions", "container", "envs", "mounts", "parallelism", "resource_shape"),
    needed=MappingProxyType({"resource_shape": "gpu.8xh100-sxm", "node_group": "my-node-group"}),
    notes=MappingProxyType(
        {
            **_COMMON_NOTES,
            "value_bytes": "96 KiB is what the Nemotron project sends in production, below the kernel's limit",
            "value_cap": "the kernel takes 131,071 bytes of NAME=value (execve(2), MAX_ARG_STRLEN)",
            "refused_endings": "leptonai 0.47, api/v2/job_validation.py",
            "reserved_variables": "leptonai 0.27 and 0.47, their reserved names together",
            "reserved_mounts": "leptonai 0.47, api/v2/spec_utils.py",
        }
    ),
)

_RUNAI = Limits(
    label="run:ai",
    value_bytes=9_000,
    value_cap=10_000,
    argument_bytes=10_000,
    name_length=35,
    job_fields=(
        *("args", "command", "compute.gpuDevicesRequest", "distributedFramework", "environmentVariables", "image"),
        *("maxReplicas", "minReplicas", "numWorkers", "storage.pvc"),
    ),
    notes=MappingProxyType(
        {
            **_COMMON_NOTES,
            "value_bytes": "9,000 is what the Nemotron project sends in production, below 10,000",
            "value_cap": "10,000 characters, HTTP 400 above (not in the public OpenAPI; counted here in bytes)",
            "argument_bytes": "as value_cap, for `command` and `args` each",
            "name_length": "nemo-run 0.11.1 asserts 35; pods and services append to it and must stay below 64",
        }
    ),
)

LIMITS: Final[Mapping[str, Limits]] = MappingProxyType({"lepton": _LEPTON, "dgxcloud": _RUNAI})
"""Executor -> the rules of its platform."""


def exec_size(argv: Iterable[str], env: Iterable[tuple[str, str]]) -> int:
    """Count what the kernel counts when a command is started: strings with their NUL, and pointers.

    Args:
        argv: The command's words.
        env: Its variables; of two with one name both count, as the platform sends both.
    """
    strings = [*argv, *(f"{name}={value}" for name, value in env)]
    return sum(len(string.encode(errors="surrogatepass")) + 1 + POINTER_BYTES for string in strings)


def environment_sizes(body: Mapping[str, Any]) -> tuple[int, int]:
    """Measure the environment in a create call's body; what a platform's own secrets add is not known.

    Args:
        body: As it is sent to either platform, or with placeholders in it.

    Returns:
        The size of the longest value, and that of all: `NAME=value` and a NUL for each. Both in bytes.
    """
    env = environment(body)
    longest = max((len(value.encode(errors="surrogatepass")) for _, value in env), default=0)
    return longest, exec_size((), env) - POINTER_BYTES * len(env)


def environment(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Give the variables in a create call's body that have a value there, in its order.

    Args:
        body: As it is sent to either platform.
    """
    spec = body["spec"]
    spec = spec.get("head_group_spec", spec)  # all groups of a Ray cluster have the same
    variables = spec.get("envs") or spec.get("environmentVariables") or ()
    return tuple((entry["name"], entry["value"]) for entry in variables if isinstance(entry.get("value"), str))


def lacking_problems(given: Mapping[str, object], limits: Limits) -> list[str]:
    """Say which keys that the platform cannot do without are not given, or empty."""
    return [
        f"{limits.label} needs '{name}', for example: {name} = \"{example}\""
        for name, example in limits.needed.items()
        if not given.get(name)
    ]


def variable_problems(names: Iterable[str], limits: Limits) -> list[str]:
    """Say what the platform has against the names of variables; the same name twice is one of the problems."""
    problems = []
    for name, count in Counter(names).items():
        untold = text_problem(name)
        if untold is not None:
            problems.append(f"the name of the variable {name!r} {untold}")
            continue
        if not limits.variable_pattern.fullmatch(name):
            problems.append(
                f"the variable '{name}' has no name that {limits.label} takes: letters, digits, '_', '-' and '.', "
                "without a digit at the beginning"
            )
        if name in limits.reserved_variables:
            problems.append(f"the variable '{name}' is {limits.label}'s own and cannot be set")
        if count > 1:
            problems.append(f"the variable '{name}' is set {count} times")
    return problems


def refused_variables(names: Iterable[str], limits: Limits) -> list[str]:
    """Say which variables a job in pods cannot set, and why; those of the platform's own rules are among them.

    Args:
        names: Their names.
        limits: The platform's rules.
    """
    names = tuple(names)
    mine = [name for name in names if name not in limits.reserved_variables]
    return [*variable_problems(names, limits), *kept_problems(mine, _KEPT)]


def kept_problems(names: Iterable[str], kept: Kept) -> list[str]:
    """Say which variables a job cannot set, and why.

    Args:
        names: Their names.
        kept: What it cannot set.
    """
    sound = [name for name in dict.fromkeys(names) if text_problem(name) is None]
    return [f"the variable '{name}' {why}" for name in sound for pattern, why in kept if pattern.fullmatch(name)]


def text_problem(value: object) -> str | None:
    """Say why a value is no text that can be sent, or None where it is one; the value itself is not told."""
    if not isinstance(value, str):
        return f"is no text but of the type '{type(value).__name__}'"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds bytes that are no UTF-8"
    return None


def untold_values(env: Iterable[tuple[object, object]]) -> list[str]:
    """Say which values are no text that can be sent; a value itself is not told.

    Args:
        env: Name and value of each variable.
    """
    found = ((name, text_problem(value)) for name, value in env)
    return [f"the value of the variable {_quoted(name)} {why}" for name, why in found if why is not None]


def _quoted(name: object) -> str:
    return f"'{name}'" if text_problem(name) is None else repr(name)


def value_problems(env: Iterable[tuple[str, str]], limits: Limits) -> list[str]:
    """Say which values are no text, too long, or hold what no environment can; a value itself is not told.

    Args:
        env: Name and value as they are sent.
        limits: The platform's rules.
    """
    problems = []
    for name, value in env:
        untold = untold_values([(name, value)])
        if untold or text_problem(name) is not None:
            problems += untold
            continue
        size = len(value.encode())
        # The kernel sees the name too, and takes the two together; the platform's own cap is on the value alone.
        longest = min(limits.value_cap, KERNEL_STRING_BYTES - len(name.encode()) - 1)
        if size > longest:
            problems.append(f"the variable '{name}' has {size:,} bytes; {limits.label} takes {longest:,}")
        if "\0" in value:
            problems.append(f"the variable '{name}' holds a NUL byte, which no environment can")
    return problems


def argv_problems(argv: Iterable[str], limits: Limits) -> list[str]:
    """Say what is wrong with a command's words."""
    words = tuple(argv)
    problems = [] if words and words[0] else ["there is no command to run"]
    for number, word in enumerate(words):
        untold = text_problem(word)
        if untold is not None:
            problems.append(f"word {number} of the command {untold}")
            continue
        size = len(word.encode())
        if size > KERNEL_STRING_BYTES:
            problems.append(
                f"word {number} of the command has {size:,} bytes; a pod's kernel on {limits.label} takes "
                f"{KERNEL_STRING_BYTES:,}"
            )
        if "\0" in word:
            problems.append(f"word {number} of the command holds a NUL byte, which no command can")
    return problems


def mount_problems(paths: Iterable[str], limits: Limits) -> list[str]:
    """Say what the platform has against the folders that volumes are mounted on.

    Args:
        paths: Folders in the pod.
        limits: The platform's rules.
    """
    problems = []
    places: Counter[str] = Counter()
    for path in paths:
        if not path.startswith("/"):
            problems.append(f"the mount path '{path}' is not absolute")
            continue
        place = folder(path)
        places[place] += 1
        if place in limits.reserved_mounts:
            problems.append(
                f"'{path}' cannot be mounted on: {limits.label} keeps it for itself (a folder below it can)"
            )
    problems += [f"{count} volumes are mounted on '{place}'" for place, count in places.items() if count > 1]
    return problems


def folder(path: str) -> str:
    """Give an absolute path in its one spelling: no `.`, `..`, double or trailing `/`."""
    return posixpath.normpath("/" + path.lstrip("/"))


def on_a_mount(path: str, mount_paths: Iterable[str]) -> bool:
    """Tell whether a folder is on one of the mounts.

    Args:
        path: Absolute path in the pod.
        mount_paths: Where volumes are mounted.
    """
    return any(f"{folder(path)}/".startswith(f"{folder(mount).rstrip('/')}/") for mount in mount_paths)
