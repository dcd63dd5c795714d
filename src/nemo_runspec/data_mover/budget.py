"""Whether a job is small enough to be sent, and what to leave out where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import PayloadError
from nemo_runspec.platforms.limits import exec_size, value_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemo_runspec.data_mover.plan import Plan
    from nemo_runspec.data_mover.select import SourceFile
    from nemo_runspec.platforms.limits import Limits

LARGEST: Final = 5

MAX_RAW_BYTES: Final = 16 * 1024 * 1024
"""What may travel before it is compressed. No platform takes more than 2 MiB of it compressed, to which source shrinks
from about 10 MiB; above this limit it is data, and reading and compressing it would only take minutes."""

_ELSEWHERE: Final = "Put large files of the job on a volume instead."


def check_raw(source: Iterable[SourceFile], job_files: Mapping[str, tuple[bytes, bool]], script: str | None) -> None:
    """See that what should travel is not out of all proportion, before any of the source is read.

    Args:
        source: The source's files.
        job_files: The job's own files, as `plan_for` takes them.
        script: Archive path of the script, which cannot be left out.

    Raises:
        PayloadError: It is, or a file is gone; it names the largest files, and how to leave some of them out.
    """
    sizes = []
    for file in source:
        try:
            sizes.append((file.name, file.path.stat().st_size))
        except OSError as error:
            message = f"cannot read {file.path}: {error.strerror}"
            raise PayloadError(message, remedy="Leave it out with the profile's exclude.") from error
    own = [(name, len(data)) for name, (data, _) in job_files.items()]
    total = sum(size for _, size in (*sizes, *own))
    if total <= MAX_RAW_BYTES:
        return
    lines = [
        "the job is too large to be sent:",
        f"  its source and own files take {total:,} bytes; at most {MAX_RAW_BYTES:,} are packed",
    ]
    largest = _largest(sizes)
    if largest:
        lines += ["  largest files of the source:", *_listed(largest)]
    if own:
        lines += ["  largest of the job's own files:", *_listed(_largest(own))]
    chosen, saved = _to_leave_out(largest, script or "", total - MAX_RAW_BYTES, 1.0)
    raise PayloadError("\n".join(lines), remedy=_remedy(chosen, saved=saved))


def check_budget(
    plan: Plan,
    limits: Limits,
    *,
    other_env: Iterable[tuple[str, str]] = (),
    other_argv: Iterable[str] = (),
    body_bytes: int | None = None,
) -> None:
    """See that a job fits, before anything is created.

    Args:
        plan: What travels.
        limits: The platform's rules.
        other_env: The job's other variables.
        other_argv: The job's command, which follows the plan's.
        body_bytes: Size of the request's body, where it is known.

    Raises:
        PayloadError: Something is too large; it names sizes, limits, the five largest files of the source and of the
            job's own, and how to leave some of them out.
    """
    env = (*plan.env.items(), *other_env)
    argv = (*plan.command, *other_argv)
    problems = value_problems(env, limits)
    total = exec_size(argv, env)
    excess = 0
    if total > limits.exec_bytes:
        excess = total - limits.exec_bytes
        problems.append(
            f"command and environment take {total:,} bytes; a pod on {limits.label} takes {limits.exec_bytes:,}"
        )
    if body_bytes is not None and body_bytes > limits.object_bytes:
        excess = max(excess, body_bytes - limits.object_bytes)
        problems.append(f"the request takes {body_bytes:,} bytes; {limits.label} takes {limits.object_bytes:,}")
    if not problems:
        return
    lines = ["the job is too large to be sent:", *(f"  {problem}" for problem in problems)]
    if not excess:
        raise PayloadError("\n".join(lines), remedy="Give a long value as a file on a volume instead.")
    largest = _largest(plan.files)
    if largest:
        lines += [f"  {plan.encoded_bytes:,} bytes of it are the source; its largest files:", *_listed(largest)]
    if plan.job_files:
        lines.append(f"  {plan.job_encoded_bytes:,} bytes of it are the job's own files; the largest:")
        lines += _listed(_largest(plan.job_files))
    share = plan.encoded_bytes / plan.raw_bytes if plan.raw_bytes else 1.0
    chosen, saved = _to_leave_out(largest, plan.pod_script or "", excess, share)
    # Where they are more of the job than its source is, leaving out source is no help.
    foremost = plan.job_encoded_bytes > plan.encoded_bytes
    raise PayloadError("\n".join(lines), remedy=_remedy(() if foremost and not saved else chosen, saved=saved))


def _largest(files: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(files, key=lambda file: (-file[1], file[0]))[:LARGEST]


def _listed(files: Iterable[tuple[str, int]]) -> list[str]:
    return [f"  {size:>12,}  {name}" for name, size in files]


def _to_leave_out(
    largest: Iterable[tuple[str, int]], script: str, excess: int, share: float
) -> tuple[tuple[str, ...], bool]:
    """Choose files that would make the job fit, as far as that can be told from sizes.

    Args:
        largest: Name and size of the largest files.
        script: What ends with the archive path of the script.
        excess: Bytes to save.
        share: How much of a file's size is sent.

    Returns:
        Their names, and whether they are enough.
    """
    chosen = []
    for name, size in largest:
        if excess > 0 and script != name and not script.endswith(f"/{name}"):
            chosen.append(name)
            excess -= int(size * share)
    return tuple(chosen), excess <= 0


def _remedy(chosen: tuple[str, ...], *, saved: bool) -> str:
    """Give the line for env.toml that leaves files out."""
    if not chosen:
        return f"The source is small: shorten the job's command, variables and own files. {_ELSEWHERE}"
    names = ", ".join(f'"{name}"' for name in chosen)
    more = "" if saved else " (and more: these are not enough)"
    return f"Leave out what the job does not read: exclude = [{names}] in the profile{more}."
