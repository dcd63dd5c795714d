"""From a recipe's YAML to Megatron-Bridge's `ConfigContainer`.

Pure but for `attach_blend`, and the same in production and in the contract tests. Megatron-Bridge's own
`apply_overrides` sets the values (it knows how to read a torch dtype, for one), but it skips unknown keys with a
warning, and takes any attribute for a known key; here a key is known only if it is a field of the dataclass.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from nemo_runspec.errors import ConfigError, DataError, Location, guess

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the YAML says to us and not to the library.
OWN_SECTIONS = frozenset({"artifact", "output_dir", "engine", "recipe", "data"})
SPLITS = ("train", "valid", "test")


def build_config(config: Mapping[str, Any], run_dir: Path) -> Any:  # noqa: ANN401 - the library's type cannot be imported here
    """Build the configuration that Megatron-Bridge trains with.

    Args:
        config: The stage's configuration. `recipe._target_` names the library's recipe function and the rest of
            `recipe` its arguments; every section that is not ours is laid over what it returns.
        run_dir: Folder of the run: checkpoints are saved to and resumed from `checkpoints`, TensorBoard's files go
            to `tensorboard`, unless the configuration says otherwise.

    Returns:
        A `megatron.bridge.training.config.ConfigContainer`.

    Raises:
        ConfigError: No such recipe, a section or key that the library does not know, or a value it refuses.
    """
    container = _call_recipe(config.get("recipe"))
    container.checkpoint.save = str(run_dir / "checkpoints")
    container.checkpoint.load = str(run_dir / "checkpoints")
    container.logger.tensorboard_dir = str(run_dir / "tensorboard")
    sections = {name: values for name, values in config.items() if name not in OWN_SECTIONS}
    _lay_over(container, sections, place="")
    return container


def attach_blend(container: Any, folder: Path) -> None:  # noqa: ANN401 - as above
    """Point a pretraining configuration at prepared shards.

    Args:
        container: The configuration; its dataset is changed.
        folder: What `data prep pretrain` wrote: `blend.json`, a list of shards for each split.

    Raises:
        DataError: There is no `blend.json`, or it is not one.
    """
    path = read_blend(folder)
    from megatron.bridge.data.loaders import get_blend_and_blend_per_split  # noqa: PLC0415 - in the image only

    _, per_split = get_blend_and_blend_per_split(per_split_data_args_path=str(path))
    container.dataset.blend = None
    container.dataset.blend_per_split = per_split
    # The library takes either a blend for each split or a ratio that cuts one blend, never both.
    container.dataset.split = None
    if container.dataset.path_to_cache is None:
        # By itself the library writes its indices beside the first shard, which may be another team's folder.
        container.dataset.path_to_cache = str(Path(container.checkpoint.save).with_name("index_cache"))


def read_blend(folder: Path) -> Path:
    """Find and check the blend of prepared shards.

    Args:
        folder: What `data prep pretrain` wrote.

    Returns:
        Its `blend.json`.

    Raises:
        DataError: There is none, or it is not one.
    """
    path = folder / "blend.json"
    remedy = "Run `nemotron nano3 data prep pretrain`, and name its artifact in run.data."
    try:
        blend = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot read the shards of the data: {error}"
        raise DataError(message, where=Location(path), remedy=remedy) from error
    missing = [split for split in SPLITS if not isinstance(blend, dict) or split not in blend]
    if missing or not blend["train"]:
        message = f"'{(missing or ['train'])[0]}' has no entry; a blend lists the shards of {', '.join(SPLITS)}"
        raise DataError(message, where=Location(path), remedy=remedy)
    return path


def _call_recipe(recipe: object) -> Any:  # noqa: ANN401 - as above
    if not isinstance(recipe, dict) or not isinstance(recipe.get("_target_"), str):
        message = "recipe._target_ is needed: the dotted name of a Megatron-Bridge recipe function"
        remedy = "For example megatron.bridge.recipes.nemotronh.nemotron_3_nano.nemotron_3_nano_pretrain_config."
        raise ConfigError(message, remedy=remedy)
    module_name, _, name = recipe["_target_"].rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        message = f"recipe._target_: module '{module_name}' cannot be imported: {error}"
        raise ConfigError(message, remedy="It is part of the NGC image; on this machine use -c tiny.") from error
    function = getattr(module, name, None)
    if not callable(function):
        message = f"recipe._target_: '{module_name}' has no function '{name}'"
        known = [key for key in vars(module) if key.endswith("_config") and not key.startswith("_")]
        raise ConfigError(message, remedy=guess(name, known, what="recipes"))
    arguments = {key: value for key, value in recipe.items() if key != "_target_"}
    try:
        return function(**arguments)
    except TypeError as error:
        message = f"recipe: {name} refuses its arguments: {error}"
        raise ConfigError(message, remedy="Set fields in the sections, not in `recipe`.") from error


def _lay_over(target: Any, values: Mapping[str, Any], *, place: str) -> None:  # noqa: ANN401 - any of the library's dataclasses
    from megatron.bridge.training.utils.omegaconf_utils import apply_overrides  # noqa: PLC0415 - in the image only

    known = [field.name for field in fields(target) if not field.name.startswith("_")]
    plain = {}
    for key, value in values.items():
        name = f"{place}{key}"
        if key not in known:
            message = f"'{name}' is not known to Megatron-Bridge ({type(target).__name__} has no '{key}')"
            raise ConfigError(message, remedy=guess(key, known, what="keys"))
        current = getattr(target, key)
        if isinstance(value, dict) and "_target_" in value:
            setattr(target, key, _instantiate(value, name))
        elif isinstance(value, dict) and is_dataclass(current):
            _lay_over(current, value, place=f"{name}.")
        elif isinstance(value, dict) and not _takes_mapping(target, key):
            message = f"'{name}' is a section that this recipe leaves out, so its keys cannot be set one by one"
            raise ConfigError(message, remedy=f"Give the whole of it: {name}._target_ names its class.")
        else:
            plain[key] = value
    apply_overrides(target, plain, {})


def _takes_mapping(target: Any, key: str) -> bool:  # noqa: ANN401 - any of the library's dataclasses
    hint = get_type_hints(type(target))[key]
    return any((get_origin(option) or option) in {dict, Any} for option in (hint, *get_args(hint)))


def _instantiate(values: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - whatever `_target_` makes
    from megatron.bridge.utils.instantiate_utils import (  # noqa: PLC0415 - in the image only
        InstantiationException,
        InstantiationMode,
        instantiate,
    )

    try:
        # The lenient default drops unknown keys and puts None for what it cannot make.
        return instantiate(values, mode=InstantiationMode.STRICT)
    except InstantiationException as error:
        message = f"'{name}' cannot be made from {values['_target_']}: {error}"
        raise ConfigError(message, remedy="Correct the keys below it, or its _target_.") from error
