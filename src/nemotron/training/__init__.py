"""Training engines: each a module with a function for every kind of work it can do.

An engine is a row of this table. Its module is imported when a stage asks for it, because each brings a library that
takes seconds to import and is not installed everywhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nemo_runspec.errors import ConfigError, guess
from nemotron.needs import packages_needed
from nemotron.settings import refuse_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.stage import Stage

ENGINES = {
    "hf": "nemotron.training.hf",
    "megatron": "nemotron.training.megatron",
    "nemo_rl": "nemotron.training.nemo_rl",
}


def run_engine(stage: Stage, work: str) -> None:
    """Do a stage's work with the engine that its configuration names.

    Args:
        stage: What the script was started with.
        work: `pretrain`, `sft`, `rl` or `evaluate`.

    Raises:
        ConfigError: There is no such engine, it is not installed here, or it does other work.
    """
    name = str(stage.config.get("engine"))
    if name not in ENGINES:
        message = f"there is no engine '{name}'"
        raise ConfigError(message, remedy=guess(name, ENGINES, what="engines"))
    with packages_needed(f"the engine '{name}'"):
        engine = import_module(ENGINES[name])
        if not getattr(engine, "HANDS_ARGUMENTS_ON", False):
            refuse_arguments(stage)
        function: Callable[[Stage], None] | None = getattr(engine, work, None)
        if function is None:
            message = f"the engine '{name}' does not do '{work}'"
            raise ConfigError(message, remedy="Name another engine in the config entry 'engine'.")
        function(stage)
