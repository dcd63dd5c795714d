"""One-line notes of a stage, for what has no steps to count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.stage.progress import say

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage


def note(stage: Stage, text: str) -> None:
    """Print a line, once for all ranks.

    Args:
        stage: Whose name the line starts with.
        text: What to say.
    """
    if stage.rank == 0:
        say(f"{stage.label}  {text}")
