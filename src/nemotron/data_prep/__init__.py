"""Text -> .bin/.idx, conversations -> packed parquet, prompts -> splits.

Nothing here imports torch: the stages start in about a second, and run where only the data is.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from nemo_runspec.errors import UsageError
from nemotron.needs import packages_needed
from nemotron.settings import refuse_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.stage import Stage

_SAMPLE = "--sample"


def run_preparation(stage: Stage, kind: str) -> None:
    """Prepare the data of one kind of training.

    Args:
        stage: What the script was started with; `--sample NUMBER` stands for the entry `sample`.
        kind: `pretrain`, `sft` or `rl`: the module of this package that does it.

    Raises:
        ConfigError: A package that it needs is not installed.
        UsageError: Another argument was given, or the number is none.
    """
    stage = _renamed(_sampled(stage))
    refuse_arguments(stage)
    with packages_needed("data preparation"):
        prepare: Callable[[Stage], None] = import_module(f"{__name__}.{kind}").prepare
        prepare(stage)


def _renamed(stage: Stage) -> Stage:
    """Publish a sample under a name of its own: training takes the latest version of the whole data's name."""
    artifact = stage.config.get("artifact")
    if not stage.config.get("sample") or not isinstance(artifact, dict) or "name" not in artifact:
        return stage
    return replace(stage, config={**stage.config, "artifact": {**artifact, "name": f"{artifact['name']}-sample"}})


def _sampled(stage: Stage) -> Stage:
    """Take `--sample NUMBER`, or `--sample=NUMBER`, over into the configuration."""
    if not stage.arguments or stage.arguments[0].partition("=")[0] != _SAMPLE:
        return stage
    name, equals, given = stage.arguments[0].partition("=")
    words = stage.arguments[1:] if equals else stage.arguments[2:]
    number = given if equals else "".join(stage.arguments[1:2])
    if not number.isdecimal() or int(number) == 0:
        message = f"{name} is '{number}'"
        raise UsageError(message, remedy="Give how many records of each data set are used: --sample 1000.")
    return replace(stage, config={**stage.config, "sample": int(number)}, arguments=words)
