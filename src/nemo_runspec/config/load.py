"""From a recipe's YAML, a profile and the command line to one merged configuration that knows its origins.

Order, later wins: the YAML file, env.toml's `[wandb]` and `[artifacts]` (as `run.wandb` and `run.artifacts`),
the profile (as `run.env`), the command line. Lists and tables are replaced, not merged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError
from yaml.error import MarkedYAMLError

from nemo_runspec.config.override import apply_override, plain_tree, put
from nemo_runspec.env import known_keys
from nemo_runspec.errors import ConfigError, Location, guess
from nemo_runspec.spec import CONFIG_SUFFIXES, config_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemo_runspec.context import Override, RecipeConfig
    from nemo_runspec.env import EnvFile, Profile, TableField
    from nemo_runspec.spec import Runspec

RUN_SECTION = "run"
PROFILE_SECTION = "run.env"
COMMAND_LINE = "command line"
FREE_KEYS = frozenset({"run.wandb.project", "run.wandb.entity", "run.artifacts.root"})
"""Launcher settings that the command line may set although no configuration names them."""


@dataclass(frozen=True, slots=True)
class MergedConfig:
    """A merged, not yet resolved configuration.

    Args:
        tree: The values; never changed after it was built.
        path: The configuration's file.
        origins: Dotted key -> where its value comes from, for each value that is not the file's own.
    """

    tree: DictConfig
    path: Path
    origins: Mapping[str, str]


def find_config(spec: Runspec, name: str | None) -> Path:
    """Find a configuration by name in the recipe's folder, or by path.

    Args:
        spec: The recipe.
        name: A name such as `tiny`, a path such as `./my.yaml`, or None for the recipe's default.

    Raises:
        ConfigError: There is no such configuration.
    """
    wanted = name if name is not None else spec.config.default
    if "/" in wanted or wanted.endswith(CONFIG_SUFFIXES):
        path = Path(wanted).expanduser().absolute()
        if path.is_file():
            return path
        message = f"configuration file '{wanted}' does not exist"
        raise ConfigError(
            message, remedy=f"Looked for {path}; a configuration of the recipe is named without path or suffix."
        )
    for suffix in CONFIG_SUFFIXES:
        path = spec.config_dir / f"{wanted}{suffix}"
        if path.is_file():
            return path
    message = f"recipe '{spec.name}' has no configuration '{wanted}'"
    known = config_names(spec.config_dir)
    remedy = guess(wanted, known, what="configurations")
    listing = "" if remedy.startswith("Known") else f" Known configurations: {', '.join(known)}."
    raise ConfigError(message, where=Location(spec.config_dir), remedy=f"{remedy}{listing}")


def load_yaml(path: Path) -> DictConfig:
    """Read a YAML or JSON mapping.

    Raises:
        ConfigError: The file is not YAML, or not a mapping.
    """
    try:
        tree = OmegaConf.load(path)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        message = f"not valid YAML: {error.problem}"
        raise ConfigError(message, where=Location(path, line), remedy="Correct the file.") from error
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException, OSError) as error:
        message = f"cannot be read: {error}"
        raise ConfigError(message, where=Location(path), remedy="Correct the file.") from error
    if not isinstance(tree, DictConfig):
        message = "a configuration is a mapping of keys to values, this is a list"
        raise ConfigError(message, where=Location(path, 1), remedy="Write key: value lines.")
    return tree


def parse_config(request: RecipeConfig, spec: Runspec) -> MergedConfig:
    """Load the configuration that the command line asked for, before profile and overrides.

    Raises:
        ConfigError: There is no such configuration, or it cannot be read.
    """
    path = find_config(spec, request.config)
    tree = load_yaml(path)
    for section in (RUN_SECTION, PROFILE_SECTION):
        value = OmegaConf.select(tree, section)
        if value is None:
            put(tree, section, {})
        elif not isinstance(value, DictConfig):
            message = f"'{section}' is a mapping of keys to values"
            raise ConfigError(message, where=Location(path), remedy="Write it as key: value lines.")
    return MergedConfig(tree, path, MappingProxyType({}))


def build_job_config(
    config: MergedConfig,
    *,
    profile: Profile,
    env_file: EnvFile,
    overrides: Iterable[Override] = (),
) -> MergedConfig:
    """Lay env.toml and the command line over a loaded configuration.

    Args:
        config: What `parse_config` gave; it is not changed.
        profile: The profile the job runs with; the values it sets go to `run.env`.
        env_file: Gives `[wandb]` and `[artifacts]`.
        overrides: `key=value` entries, in order.

    Raises:
        ConfigError: An override names no entry of the configuration, or has a value of another type.
    """
    tree = config.tree.copy()
    fields = known_keys(type(profile))
    tree.run.env = {_own_name(key, fields): value for key, value in plain_tree(tree)["run"]["env"].items()}
    origins: dict[str, str] = {}
    for table in (env_file.wandb, env_file.artifacts):
        for key, value in table.as_config().items():
            put(tree, f"run.{table.name}.{key}", value)
            origins[f"run.{table.name}.{key}"] = f"env.toml [{table.name}]"
    for key, value in profile.as_config().items():
        put(tree, f"{PROFILE_SECTION}.{key}", value)
        if profile.source is not None:
            origins[f"{PROFILE_SECTION}.{key}"] = f"profile {profile.origins.get(key, profile.name)}"
    free_keys = FREE_KEYS | {f"{PROFILE_SECTION}.{name}" for name in fields}
    for written in overrides:
        override = _with_own_name(written, fields)
        _check_profile_key(override, profile, tree)
        apply_override(tree, override, free_keys=free_keys, path=config.path)
        inside = f"{override.key}."
        origins = {key: origin for key, origin in origins.items() if not key.startswith(inside)}
        origins[override.key] = COMMAND_LINE
    return MergedConfig(tree, config.path, MappingProxyType(origins))


def _own_name(key: str, fields: Mapping[str, TableField]) -> str:
    """Give a profile key's own name where an alias was written."""
    return fields[key].name if key in fields else key


def _with_own_name(override: Override, fields: Mapping[str, TableField]) -> Override:
    section, _, key = override.key.rpartition(".")
    return replace(override, key=f"{section}.{_own_name(key, fields)}") if section == PROFILE_SECTION else override


def _check_profile_key(override: Override, profile: Profile, tree: DictConfig) -> None:
    section, _, key = override.key.rpartition(".")
    if section == PROFILE_SECTION and key not in known_keys(type(profile)) and key not in tree.run.env:
        message = f"override '{override}': {profile.noun()} has no key '{key}'"
        raise ConfigError(message, remedy=profile.explain_unknown(key))
