"""YAML as every part of the toolkit writes and reads it: what is written reads back as the same values.

The rules are OmegaConf's, which reads the recipes' configurations: `1e-4` is a number, and a date is text. Reader and
writer share them, because a writer leaves a text unquoted exactly where its own rules read it back as text.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_FLOAT = "tag:yaml.org,2002:float"
# YAML 1.1 wants a dot in every float and a sign in every exponent; people and Python leave them out.
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")

# PyYAML takes it for the end of a line where it is not escaped.
_NEXT_LINE = "\x85"


class Loader(yaml.SafeLoader):
    """Reads plain values."""


class _Dumper(yaml.SafeDumper):
    """Writes plain values, and paths as text; quotes what any of the two sets of rules takes for something else."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write a value that occurs twice twice: nobody should have to look up `*id001`."""
        return True


def _text(dumper: yaml.SafeDumper, value: str | PurePath) -> yaml.ScalarNode:
    # A byte of a command line that is no UTF-8 has no form in YAML.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _NEXT_LINE in text else None)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (Loader, _Dumper):
    _kind.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(PurePath, _text)


def load(text: str) -> Any:  # noqa: ANN401 - a document is any YAML value
    """Read a document.

    Raises:
        yaml.YAMLError: It is not YAML, or asks for a type that is not plain.
        ValueError: A number has more digits than Python converts.
        RecursionError: It is nested deeper than anybody writes.
    """
    return yaml.load(text, Loader)  # noqa: S506 a SafeLoader with other number rules


def dump(values: Mapping[str, object]) -> str:
    """Write a mapping as a document that `load` gives back, keys in their order.

    Args:
        values: Plain values: tables, lists, texts, numbers, truth values, None; paths become text.
    """
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
