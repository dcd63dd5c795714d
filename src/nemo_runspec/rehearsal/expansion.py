"""`$(NAME)` in commands and values of variables, expanded as Kubernetes does it.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/ and
k8s.io/kubernetes/third_party/forked/golang/expansion. `$$` becomes `$`; the name of a variable that is not known stays
as it stands there; what was put in is not expanded again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OPERATOR: Final = re.compile(r"\$(?:(?P<escaped>\$)|\((?P<name>[^)]*)\))")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a container's specification.

    Args:
        name: Its name.
        value: Its value as it was sent, or as it stands in a secret.
        is_literal: Whether the value is taken as it is: one from a secret is not expanded.
    """

    name: str
    value: str
    is_literal: bool = False


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Give a text with the variables' values in it.

    Args:
        text: A word of a command, or a value.
        variables: What is known.
    """

    def replacement(found: re.Match[str]) -> str:
        return "$" if found["escaped"] else variables.get(found["name"], found[0])

    return _OPERATOR.sub(replacement, text)


def expand_environment(variables: Iterable[Variable]) -> dict[str, str]:
    """Give a container's environment: each value may refer to variables before it, and the last of a name wins.

    Args:
        variables: In the order of the specification.
    """
    known: dict[str, str] = {}
    for variable in variables:
        known[variable.name] = variable.value if variable.is_literal else expand(variable.value, known)
    return known
