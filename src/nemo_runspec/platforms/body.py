"""What the requests of both platforms have in common: exact values, and all problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.kubernetes import escape
from nemo_runspec.platforms.limits import argv_problems, text_problem, value_problems, variable_problems
from nemo_runspec.platforms.workload import NAME
from nemo_runspec.toml.source import Problem, raise_problems
from nemo_runspec.toml.values import thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemo_runspec.platforms.limits import Limits
    from nemo_runspec.platforms.workload import Request, Workload


def escaped_env(env: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Give variables as both platforms take them, with values that arrive as they are here."""
    return [{"name": name, "value": escape(value)} for name, value in env]


def secret_values(request: Request) -> tuple[str, ...]:
    """Give the secrets that a request holds, which no message may repeat.

    Args:
        request: A request of either platform.
    """
    spec = request.body["spec"]
    variables = spec.get("envs", spec.get("environmentVariables", ()))
    return tuple(entry["value"] for entry in variables if entry["name"] in request.secret_variables)


def workload_problems(workload: Workload, limits: Limits) -> list[str]:
    """Say what no request of a platform can carry.

    Args:
        workload: What is asked.
        limits: The platform's rules.
    """
    problems = [] if workload.image else ["there is no container image"]
    if workload.nodes < 1:
        problems.append(f"a workload of {workload.nodes} nodes cannot be")
    if workload.gpus_per_node < 0:
        problems.append(f"{workload.gpus_per_node} GPUs on each node cannot be")
    if workload.retries < 0:
        problems.append(f"{workload.retries} retries cannot be")
    values = (*workload.env, *workload.secrets)
    problems += argv_problems(workload.argv, limits)
    problems += variable_problems((*(name for name, _ in values), *workload.secret_references), limits)
    # Whatever name the workload gets, its values must fit with it.
    longest = "n" * limits.name_length
    unsendable = [(name, value) for name, value in values if text_problem(value) is not None]
    sendable = [(name, value) for name, value in values if text_problem(value) is None]
    problems += value_problems(unsendable, limits)
    problems += value_problems(((name, escape(value).replace(NAME, longest)) for name, value in sendable), limits)
    return problems


def refuse(problems: Sequence[str], limits: Limits) -> None:
    """Raise one error with everything that the platform would refuse; without problems do nothing.

    Raises:
        ProfileError: There is a problem.
    """
    found = [Problem(problem) for problem in problems]
    raise_problems(found, ProfileError, summary=f"this job for {limits.label}")


def spec_problems(custom: Mapping[str, Any], ours: Iterable[str]) -> list[str]:
    """Say which fields of `custom_spec` would take away what a job is made from.

    Args:
        custom: The profile's `custom_spec`.
        ours: Dotted names of the fields that it must leave alone.
    """
    return [
        f"custom_spec must not set '{name}', which a job's other keys make" for name in ours if _holds(custom, name)
    ]


def _holds(table: Mapping[str, Any], dotted: str) -> bool:
    first, _, rest = dotted.partition(".")
    if first not in table:
        return False
    inner = table[first]
    return _holds(inner, rest) if rest and isinstance(inner, Mapping) else True


def merged(ours: Mapping[str, Any], custom: Mapping[str, Any]) -> dict[str, Any]:
    """Give a specification with more fields; tables are merged, everything else is replaced.

    Args:
        ours: Fields that a job has anyway.
        custom: The profile's `custom_spec`.
    """
    result: dict[str, Any] = thaw(ours)
    for name, value in custom.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else thaw(value)
    return result
