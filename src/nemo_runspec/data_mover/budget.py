"""Whether a job is small enough to be sent, and what to leave out where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.errors import PayloadError
from nemo_runspec.platforms.limits import exec_size, value_problems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.data_mover.plan import Plan
    from nemo_runspec.platforms.limits import Limits

LARGEST = 5


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
        PayloadError: Something is too large; it names sizes, limits, the five largest files, and how to leave some
            of them out.
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
    if problems:
        largest = sorted(plan.files, key=lambda file: (-file[1], file[0]))[:LARGEST]
        lines = ["the job is too large to be sent:", *(f"  {problem}" for problem in problems)]
        if excess and largest:
            lines.append(f"  {plan.encoded_bytes:,} bytes of it are the source; its largest files:")
            lines += [f"  {size:>12,}  {name}" for name, size in largest]
        raise PayloadError("\n".join(lines), remedy=_remedy(plan, largest, excess))


def _remedy(plan: Plan, largest: Iterable[tuple[str, int]], excess: int) -> str:
    """Give the line for env.toml that would make the job fit, as far as that can be told from sizes."""
    if not excess:
        return "Give a long value as a file on a volume instead."
    script = plan.pod_script or ""
    share = plan.encoded_bytes / plan.raw_bytes if plan.raw_bytes else 1.0
    chosen: list[str] = []
    for name, size in largest:
        if excess > 0 and not script.endswith(f"/{name}"):
            chosen.append(name)
            excess -= int(size * share)
    if not chosen:
        return "The source is small: shorten the job's command, variables and own files."
    names = ", ".join(f'"{name}"' for name in chosen)
    more = "" if excess <= 0 else " (and more: these five are not enough)"
    return f"Leave out what the job does not read: exclude = [{names}] in the profile{more}."
