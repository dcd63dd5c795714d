"""From a recipe's YAML, a profile and the command line to one merged configuration that knows its origins.

Order, later wins: the YAML file, env.toml's `[wandb]` and `[artifacts]` (as `run.wandb` and `run.artifacts`),
the profile (as `run.env`), the command line. Lists and tables are replaced, not merged.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import Node, ScalarNode, YAMLError, compose
from yaml.error import MarkedYAMLError

from nemo_runspec.config.override import apply_override, plain_tree, put, shortened
from nemo_runspec.config.resolvers import expression_error, place_of, register
from nemo_runspec.env import known_keys
from nemo_runspec.errors import ConfigError, Location, guess
from nemo_runspec.paths import PathKind, absolute, kind_of
from nemo_runspec.spec import CONFIG_SUFFIXES, config_names, is_path
from nemo_runspec.toml.values import empty_table
from nemo_runspec.yaml_text import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from nemo_runspec.context import Override, RecipeConfig
    from nemo_runspec.env import EnvFile, Profile, TableField
    from nemo_runspec.spec import Runspec

RUN_SECTION = "run"
PROFILE_SECTION = "run.env"
COMMAND_LINE = "command line"
SECTIONS = (RUN_SECTION, PROFILE_SECTION, "run.wandb", "run.artifacts")
"""What the launcher itself reads as mappings."""

FREE_KEYS = frozenset({"run.wandb.project", "run.wandb.entity", "run.artifacts.root"})
"""Launcher settings that the command line may set although no configuration names them."""


@dataclass(frozen=True, slots=True)
class MergedConfig:
    """A merged, not yet resolved configuration.

    Args:
        tree: The values; never changed after it was built.
        path: The configuration's file.
        origins: Dotted key -> where its value comes from, for each value that is not the file's own.
        places: The same keys -> the line in env.toml, or None for what stands in no file.
    """

    tree: DictConfig
    path: Path
    origins: Mapping[str, str]
    places: Mapping[str, Location | None] = field(default_factory=empty_table)


def find_config(spec: Runspec, name: str | None) -> Path:
    """Find a configuration by name in the recipe's folder, or by path.

    Args:
        spec: The recipe.
        name: A name such as `tiny`, a path such as `./my.yaml`, or None for the recipe's default.

    Raises:
        ConfigError: There is no such configuration.
    """
    wanted = name if name is not None else spec.config.default
    if is_path(wanted):
        path = absolute(wanted, error=ConfigError)
        kind = kind_of(path, error=ConfigError)
        if kind is PathKind.FILE:
            return path
        what = "does not exist" if kind is PathKind.NOTHING else "is not a file"
        message = f"configuration file '{wanted}' {what}"
        raise ConfigError(
            message, remedy=f"Looked for {path}; a configuration of the recipe is named without path or suffix."
        )
    for suffix in CONFIG_SUFFIXES:
        path = spec.config_dir / f"{wanted}{suffix}"
        if kind_of(path, error=ConfigError) is PathKind.FILE:
            return path
    message = f"recipe '{spec.name}' has no configuration '{wanted}'"
    known = config_names(spec.config_dir)
    if not known:
        remedy = f"Make {spec.config_dir / wanted}{CONFIG_SUFFIXES[0]}; it may be empty."
        raise ConfigError(message, where=Location(spec.config_dir), remedy=remedy)
    remedy = guess(wanted, known, what="configurations")
    listing = "" if remedy.startswith("Known") else f" Known configurations: {', '.join(known)}."
    raise ConfigError(message, where=Location(spec.config_dir), remedy=f"{remedy}{listing}")


def load_yaml(path: Path) -> DictConfig:
    """Read a YAML or JSON mapping.

    Raises:
        ConfigError: The file is not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = compose(text, Loader)
        # OmegaConf makes `{hello: null}` of the one word `hello`.
        tree = OmegaConf.load(io.StringIO(text)) if root is None or not _is_text(root) else None
        repr(tree)  # fails for a number that could not be written to the script's configuration either
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        message = f"not valid YAML: {error.problem}"
        raise ConfigError(message, where=Location(path, line), remedy="Correct the file.") from error
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(message, where=Location(path), remedy="Check its permissions.") from error
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        message = f"cannot be read: {shortened(str(error))}"
        raise ConfigError(message, where=Location(path), remedy="Correct the file.") from error
    if not isinstance(tree, DictConfig):
        what = "a single value" if tree is None else "a list"
        message = f"a configuration is a mapping of keys to values, this is {what}"
        raise ConfigError(message, where=Location(path, 1), remedy="Write key: value lines.")
    return tree


def _is_text(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag != "tag:yaml.org,2002:null"


def parse_config(request: RecipeConfig, spec: Runspec) -> MergedConfig:
    """Load the configuration that the command line asked for, before profile and overrides.

    Raises:
        ConfigError: There is no such configuration, or it cannot be read.
    """
    path = find_config(spec, request.config)
    tree = load_yaml(path)
    for section in SECTIONS:
        values = _section(plain_tree(tree), section)
        if values is None and section in (RUN_SECTION, PROFILE_SECTION):
            put(tree, section, {})
        elif values is not None and not isinstance(values, dict):
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
    places: dict[str, Location | None] = {}
    for table in (env_file.wandb, env_file.artifacts):
        for key, value in table.as_config().items():
            put(tree, f"run.{table.name}.{key}", value)
            origins[f"run.{table.name}.{key}"] = f"env.toml [{table.name}]"
            places[f"run.{table.name}.{key}"] = table.origins[key].where
    for key, value in profile.as_config().items():
        put(tree, f"{PROFILE_SECTION}.{key}", value)
        if profile.source is not None:
            origins[f"{PROFILE_SECTION}.{key}"] = f"profile {profile.origins.get(key, profile.name)}"
            places[f"{PROFILE_SECTION}.{key}"] = profile.where(key) or profile.source
    for written in overrides:
        override = _with_own_name(written, fields)
        _check_profile_key(override, profile, tree)
        fits = _judge(override, fields)
        may_be_new = fits is not None or override.key in FREE_KEYS
        apply_override(tree, override, path=config.path, may_be_new=may_be_new, fits=fits)
        _check_sections(tree, override)
        inside = f"{override.key}."
        origins = {key: origin for key, origin in origins.items() if not key.startswith(inside)}
        origins[override.key] = COMMAND_LINE
        places = {key: place for key, place in places.items() if not key.startswith(inside)}
        places[override.key] = None
    _check_places(tree, config.path, places)
    return MergedConfig(tree, config.path, MappingProxyType(origins), MappingProxyType(places))


def _section(tree: object, key: str) -> Any:  # noqa: ANN401 - any YAML value
    """Give what stands under a dotted key of a plain configuration, or None."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _check_sections(tree: DictConfig, override: Override) -> None:
    plain = plain_tree(tree)
    for section in SECTIONS:
        value = _section(plain, section)
        there = section in (RUN_SECTION, PROFILE_SECTION) or section == override.key
        if not isinstance(value, dict) and (there or value is not None):
            message = f"override '{override}': '{section}' is a section, which the launcher reads"
            raise ConfigError(message, remedy=f"Set one of its entries: {section}.KEY=VALUE.")


def _check_places(tree: DictConfig, path: Path, places: Mapping[str, Location | None]) -> None:
    """Check the two entries that are read before the rest is resolved.

    Raises:
        ConfigError: One holds an interpolation that cannot be resolved.
    """
    register()
    for key in ("run.env.workspace", "run.artifacts.root"):
        try:
            OmegaConf.select(tree, key)
        except OmegaConfBaseException as error:
            raise expression_error(error, key, place_of(key, path, places)) from error


def _own_name(key: str, fields: Mapping[str, TableField]) -> str:
    """Give a profile key's own name where an alias was written."""
    return fields[key].name if key in fields else key


def _profile_key(key: str) -> list[str]:
    """Give the parts of a dotted key below `run.env`; none for a key that is elsewhere."""
    inside = f"{PROFILE_SECTION}."
    return key.removeprefix(inside).split(".") if key.startswith(inside) else []


def _with_own_name(override: Override, fields: Mapping[str, TableField]) -> Override:
    parts = _profile_key(override.key)
    if not parts:
        return override
    return replace(override, key=".".join((PROFILE_SECTION, _own_name(parts[0], fields), *parts[1:])))


def _check_profile_key(override: Override, profile: Profile, tree: DictConfig) -> None:
    parts = _profile_key(override.key)
    if parts and parts[0] not in known_keys(type(profile)) and parts[0] not in tree.run.env:
        message = f"override '{override}': {profile.noun()} has no key '{parts[0]}'"
        raise ConfigError(message, remedy=profile.explain_unknown(parts[0]))


def _judge(override: Override, fields: Mapping[str, TableField]) -> Callable[[object], bool] | None:
    """Give what tells whether a value is right for a key of the profile, or for an entry of one that is a table."""
    parts = _profile_key(override.key)
    if not parts or parts[0] not in fields:
        return None
    kind = fields[parts[0]].kind
    if parts[1:] and any(kind.check({})):
        return None

    def fits(value: object) -> bool:
        for name in reversed(parts[1:]):
            value = {name: value}
        return not any(kind.check(value))

    return fits
