"""`key=value` entries of the command line, laid over a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from nemo_runspec.errors import ConfigError, Location, guess

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from nemo_runspec.context import Override


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """Give a configuration as plain values, interpolations left as text."""
    return cast("dict[str, Any]", OmegaConf.to_container(tree, resolve=False))


def put(tree: DictConfig, key: str, value: object) -> None:
    """Set an entry, making the sections above it; lists and tables are replaced, not merged."""
    OmegaConf.update(tree, key, value, merge=False, force_add=True)


def apply_override(tree: DictConfig, override: Override, *, free_keys: Collection[str], path: Path) -> None:
    """Set the entry that an override names.

    Args:
        tree: Changed in place.
        override: The entry.
        free_keys: Entries that may be set although the configuration does not name them.
        path: The configuration's file, for error messages.

    Raises:
        ConfigError: The configuration has no such entry, or the value is of another type than the entry.
    """
    value = _parse_value(override)
    if not override.add and override.key not in free_keys:
        _check(plain_tree(tree), override, value, path)
    put(tree, override.key, value)


def _parse_value(override: Override) -> Any:  # noqa: ANN401 - a YAML value is of any type
    try:
        return plain_tree(OmegaConf.from_dotlist([f"value={override.value}"]))["value"]
    except YAMLError as error:
        message = f"override '{override}': the value is not valid YAML"
        raise ConfigError(message, remedy="Quote it for YAML, for example key='\"text: with colon\"'.") from error


def _check(node: Any, override: Override, value: object, path: Path) -> None:  # noqa: ANN401 - any YAML value
    walked: list[str] = []
    for part in override.key.split("."):
        children = _children(node)
        if part not in children:
            place = f"'{'.'.join(walked)}'" if walked else "the configuration"
            message = f"override '{override}': {place} has no entry '{part}'"
            hint = guess(part, children, what="entries") if children else "It is a single value."
            raise ConfigError(message, where=Location(path), remedy=f"{hint} A new entry is added with ++{override}")
        node = children[part]
        walked.append(part)
    _check_type(node, override, value, path)


def _children(node: object) -> dict[str, Any]:
    if isinstance(node, dict):
        return {str(key): value for key, value in node.items()}
    if isinstance(node, list):
        return {str(index): value for index, value in enumerate(node)}
    return {}


def _check_type(current: object, override: Override, value: object, path: Path) -> None:
    if value is None or (isinstance(value, str) and "${" in value):
        return
    if isinstance(current, dict) and not isinstance(value, dict):
        message = f"override '{override}': '{override.key}' is a section"
        remedy = f"Set one of its entries: {', '.join(map(str, current))}."
        raise ConfigError(message, where=Location(path), remedy=remedy)
    if not isinstance(current, bool | int | float):
        return
    if not isinstance(value, int | float) or isinstance(value, bool) != isinstance(current, bool):
        kind = "true or false" if isinstance(current, bool) else "a number"
        message = f"override '{override}': '{override.key}' is {kind} (now {current})"
        raise ConfigError(message, where=Location(path), remedy=f"Give {kind}, or replace the entry with ++{override}")
