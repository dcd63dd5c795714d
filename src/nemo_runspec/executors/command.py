"""The command of a task as one shell command, from the words that nemo-run composes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from nemo_run.core.execution.launcher import FaultTolerance, Torchrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchx.specs import Role

_MACROS: Final = {"$$${head_node_ip_var}": "$MASTER_ADDR", "$$${node_rank_var}": "$NODE_RANK"}
"""What nemo-run leaves to the executor in `ft_launcher`'s arguments -> the pod's variable."""


def command_text(role: Role, executor: Any, path_of: Callable[[str], str] = str) -> str:  # noqa: ANN401 - an executor of nemo-run, which ships no types
    """Give a role's command, quoted so that every argument reaches the program as it is.

    nemo-run quotes what it composes for `torchrun` and `ft_launcher`, where `$NODE_RANK` and the like are the pod's
    variables, and nothing else.

    Args:
        role: The role as nemo-run's components make it.
        executor: The executor, which knows the launcher.
        path_of: Gives a word as the job sees it, where a path below `/nemo_run` is another one there.
    """
    launcher = executor.get_launcher()
    words = [path_of(word) for word in role.args]
    before: list[str] = []
    if launcher.nsys_profile:
        # nemo-run ends the profiler's command with an empty word.
        words = words[:-1] if words and not words[-1] else words
        length = len(executor.get_launcher_prefix())
        before, words = words[:length], words[length:]
    entrypoint = [shlex.quote(word) for word in (*shlex.split(role.entrypoint), *before)]
    if isinstance(launcher, Torchrun | FaultTolerance):
        return " ".join([*entrypoint, *map(_filled_in, words)])
    return " ".join([*entrypoint, *map(shlex.quote, words)])


def _filled_in(word: str) -> str:
    """Fill in a macro at the beginning of a word; one that a user has written is quoted, and begins otherwise."""
    for macro, value in _MACROS.items():
        if word.startswith(macro):
            return value + word.removeprefix(macro)
    return word
