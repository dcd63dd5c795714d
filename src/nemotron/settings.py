"""A stage's configuration, read into frozen dataclasses.

The launcher has checked that an override names an entry of the file. Here the values get their types, so that a
mistake in a file is found before a model is built.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nemo_runspec.errors import ConfigError, UsageError, guess

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage

T = TypeVar("T")

# What every stage has, and the toolkit or the engine table reads.
_COMMON = ("artifact", "output_dir", "engine")


def read_settings(config: Mapping[str, object], cls: type[T]) -> T:
    """Read the whole configuration of a stage.

    Args:
        config: What the stage was started with.
        cls: A dataclass. A field's type is `int`, `float`, `str`, `bool`, another such dataclass for a table, one of
            these or None, or `dict[str, str]`.

    Raises:
        ConfigError: An entry is unknown, missing, or of another type.
    """
    return _build({key: value for key, value in config.items() if key not in _COMMON}, "", cls)


def refuse_arguments(stage: Stage) -> None:
    """Refuse arguments that nothing reads: `--train.steps=5` would be trained without, and nobody would know.

    Args:
        stage: What the script was started with.

    Raises:
        UsageError: There are such arguments.
    """
    if stage.arguments:
        message = f"nothing reads the argument '{stage.arguments[0]}'"
        raise UsageError(message, remedy="The configuration is changed with key=value, without dashes.")


def check_positive(settings: object, table: str, *names: str) -> None:
    """Refuse fields of a settings dataclass that are zero or less.

    Args:
        settings: The dataclass.
        table: Its name in the configuration, "" for the top level.
        names: The fields.

    Raises:
        ConfigError: Naming the first such field.
    """
    for name in names:
        value = getattr(settings, name)
        if value <= 0:
            message = f"{_dotted(table, name)} is {value}"
            raise ConfigError(message, remedy="It must be above zero.")


def _build(table: Mapping[Any, object], path: str, cls: type[T]) -> T:
    kinds = typing.get_type_hints(cls)
    fields = dataclasses.fields(typing.cast("type[Any]", cls))
    known = [field.name for field in fields]
    for name in table:
        if name not in known:
            message = f"unknown configuration entry '{_dotted(path, name)}'"
            raise ConfigError(message, remedy=guess(str(name), known, what="entries here"))
    for field in fields:
        if field.name not in table and field.default is dataclasses.MISSING:
            message = f"the configuration has no entry '{_dotted(path, field.name)}'"
            raise ConfigError(message, remedy=f"Add it; it is {_describe(kinds[field.name])}.")
    return cls(**{name: _value(value, kinds[name], _dotted(path, name)) for name, value in table.items()})


def _value(value: object, kind: object, path: str) -> object:
    allowed = _alternatives(kind)
    tables = [item for item in allowed if isinstance(item, type) and dataclasses.is_dataclass(item)]
    if tables and isinstance(value, Mapping):
        return _build(value, path, tables[0])
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # `True` is an int for Python, but not for the person who wrote it where a number belongs.
    misplaced = isinstance(value, bool) and bool not in allowed
    if misplaced or not isinstance(value, tuple(item for item in allowed if isinstance(item, type))):
        message = f"the configuration entry '{path}' is {value!r}"
        raise ConfigError(message, remedy=f"It should be {_describe(kind)}.")
    return value


def _alternatives(kind: object) -> tuple[object, ...]:
    """Give the types that a value may have: the members of a union, or `dict` for `dict[str, str]`."""
    origin = typing.get_origin(kind)
    if origin in {dict, list}:
        return (origin,)
    return typing.get_args(kind) or (kind,)


def _dotted(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _describe(kind: object) -> str:
    names: dict[object, str] = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        list: "a list",
    }
    names[type(None)] = "null"
    return " or ".join(names.get(item, "a table") for item in _alternatives(kind))
