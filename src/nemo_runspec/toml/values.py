"""TOML values that cannot be changed by accident, and back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def empty_table() -> Mapping[str, Any]:
    """Give a read-only mapping without keys (a default factory for dataclass fields)."""
    return MappingProxyType({})


def freeze(value: Any) -> Any:  # noqa: ANN401 - any TOML value, of the same type when it comes back
    """Give a value with every list in it as a tuple and every table as a read-only mapping."""
    if isinstance(value, Mapping):
        return MappingProxyType({name: freeze(element) for name, element in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(element) for element in value)
    return value


def thaw(value: Any) -> Any:  # noqa: ANN401 - any TOML value, of the same type when it comes back
    """Give a value with every tuple in it as a list and every mapping as a dict, which serializers understand."""
    if isinstance(value, Mapping):
        return {name: thaw(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(element) for element in value]
    return value
