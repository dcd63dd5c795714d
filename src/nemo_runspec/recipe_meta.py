"""What a recipe command's help and completion tell of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.spec import config_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RecipeMeta:
    """What a command's help tells of its recipe.

    Args:
        script: The recipe's script, or a folder of recipes for a command that runs several.
        summary: One line.
        config_dirs: Gives the folders of its named configurations, when help or completion asks; a name counts
            when every folder has it.
        examples: Command lines.
    """

    script: Path
    summary: str
    config_dirs: Callable[[], tuple[Path, ...]]
    examples: tuple[str, ...] = ()

    def configs(self) -> list[str]:
        """List the configurations that can be named with `-c`."""
        names = [set(config_names(folder)) for folder in self.config_dirs()]
        return sorted(set.intersection(*names)) if names else []
