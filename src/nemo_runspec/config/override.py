"""`key=value` entries of the command line, laid over a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nemo_runspec.errors import ConfigError, Location, guess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.context import Override


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """Give a configuration as plain values, interpolations left as text."""
    return cast("dict[str, Any]", OmegaConf.to_container(tree, resolve=False))


def put(tree: DictConfig, key: str, value: object) -> None:
    """Set an entry, making the sections above it; lists and tables are replaced, not merged."""
    OmegaConf.update(tree, key, value, merge=False, force_add=True)


def apply_override(
    tree: DictConfig,
    override: Override,
    *,
    path: Path,
    may_be_new: bool = False,
    fits: Callable[[object], bool] | None = None,
) -> None:
    """Set the entry that an override names.

    Args:
        tree: Changed in place.
        override: The entry.
        path: The configuration's file, for error messages.
        may_be_new: Whether the entry may be set although the configuration does not name it.
        fits: Tells whether a value is right, where that is known: a number that is only right as text, such as a
            variable's `1`, is taken as text.

    Raises:
        ConfigError: The configuration has no such entry or no place for it, or the value is of another type.
    """
    value = _parse_value(override)
    if fits is not None and isinstance(value, int | float) and not fits(value) and fits(override.value):
        value = override.value
    new = override.add or may_be_new
    current = _current(plain_tree(tree), override, path, new=new)
    if not new:
        _check_type(current, override, value, path)
    put(tree, override.key, value)


def _parse_value(override: Override) -> Any:  # noqa: ANN401 - a YAML value is of any type
    try:
        value = plain_tree(OmegaConf.from_dotlist([f"value={override.value}"]))["value"]
        # A number that Python would not write: it could be read, as hexadecimal digits are, and not handed on.
        repr(value)
    except YAMLError as error:
        message = f"override '{shortened(str(override))}': the value is not valid YAML"
        raise ConfigError(message, remedy="Quote it for YAML, for example key='\"text: with colon\"'.") from error
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        message = f"override '{shortened(str(override))}': the value cannot be read: {reason}"
        raise ConfigError(message, remedy="Give a plain value, or an expression such as ${key}.") from error
    return value


def shortened(text: str, length: int = 200) -> str:
    """Give a text that fits into a message."""
    return text if len(text) <= length else f"{text[:length]}..."


def _current(node: Any, override: Override, path: Path, *, new: bool) -> Any:  # noqa: ANN401 - any YAML value
    """Give the value that an override replaces, or None where it makes a new entry.

    Args:
        node: The whole configuration, plain.
        override: The override.
        path: The configuration's file.
        new: Whether it may make one.

    Raises:
        ConfigError: There is no such entry, or there can be none, because something else stands above it.
    """
    walked: list[str] = []
    for part in override.key.split("."):
        place = f"'{'.'.join(walked)}'" if walked else "the configuration"
        if not isinstance(node, dict | list | None):
            message = f"override '{override}': {place} is a single value (now {shortened(str(node))})"
            raise ConfigError(message, where=Location(path), remedy=f"Set it as a whole: {'.'.join(walked)}=VALUE.")
        children = _children(node)
        if part not in children:
            message = f"override '{override}': {place} has no entry '{part}'"
            if isinstance(node, list):
                remedy = f"It is a list of {len(node)}; a longer one is given as a whole: {'.'.join(walked)}=[...]."
                raise ConfigError(message, where=Location(path), remedy=remedy)
            if new:
                return None
            hint = guess(part, children, what="entries")
            raise ConfigError(message, where=Location(path), remedy=f"{hint} A new entry is added with ++{override}")
        node = children[part]
        walked.append(part)
    return node


def _children(node: dict[Any, Any] | list[Any] | None) -> dict[str, Any]:
    if isinstance(node, list):
        return {str(index): value for index, value in enumerate(node)}
    return {str(key): value for key, value in (node or {}).items()}


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
