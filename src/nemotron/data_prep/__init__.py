"""Text -> .bin/.idx, conversations -> packed parquet, prompts -> splits.

Nothing here imports torch: the stages start in about a second, and run where only the data is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nemotron.needs import packages_needed
from nemotron.settings import refuse_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.stage import Stage


def run_preparation(stage: Stage, kind: str) -> None:
    """Prepare the data of one kind of training.

    Args:
        stage: What the script was started with.
        kind: `pretrain`, `sft` or `rl`: the module of this package that does it.

    Raises:
        ConfigError: A package that it needs is not installed.
    """
    refuse_arguments(stage)
    with packages_needed("data preparation"):
        prepare: Callable[[Stage], None] = import_module(f"{__name__}.{kind}").prepare
        prepare(stage)
