"""The machinery of one table of env.toml: its known keys, where each value came from, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.errors import guess
from nemo_runspec.toml.kinds import Either, ListOf, TableOf
from nemo_runspec.toml.source import Problem, key_text
from nemo_runspec.toml.values import empty_table, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.errors import Location
    from nemo_runspec.toml.kinds import Kind
    from nemo_runspec.toml.source import TomlSource

_METADATA = "env.toml"


@dataclass(frozen=True, slots=True)
class TableField:
    """A key that a table may have.

    Args:
        name: The key.
        kind: What its value may be.
        help: One sentence for the reference.
        example: A value as it stands in env.toml.
        required: Whether the table is useless without it.
        aliases: Other names under which it is accepted.
    """

    name: str
    kind: Kind
    help: str
    example: str
    required: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Args:
        label: The profile whose table holds it (a parent's, when it is inherited), or another source's name.
        where: The line, where it stands in a file.
    """

    label: str
    where: Location | None = None

    def __str__(self) -> str:
        """Give it as "slurm (env.toml:12)"."""
        if self.where is None:
            return self.label
        line = f":{self.where.line}" if self.where.line is not None else ""
        return f"{self.label} ({Path(self.where.path).name}{line})"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value before it is checked.

    Args:
        value: The value as it was read.
        origin: Where it came from; the label is the table that holds it.
        written: The key as it was written, which may be an alias.
    """

    value: object
    origin: Origin
    written: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A checked table: one attribute for each key, None or empty where the key is not set.

    Args:
        name: The table's name.
        source: Where it begins, or None when it stands in no file.
        origins: For each key that is set, where its value came from.
    """

    name: str
    source: Location | None = None
    origins: Mapping[str, Origin] = field(default_factory=empty_table)

    def as_config(self) -> dict[str, Any]:
        """Give the keys that are set, as plain dicts, lists and values."""
        return {name: thaw(getattr(self, name)) for name in self.origins}

    @classmethod
    def noun(cls) -> str:
        """Name this kind of table for messages."""
        return "this table"

    @classmethod
    def explain_unknown(cls, name: str) -> str:
        """Give the remedy for a key that this kind of table does not have."""
        return guess(name, known_keys(cls), what="keys")


def key(
    kind: Kind,
    text: str,
    *,
    example: str,
    required: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - stands for the attribute's own type, as `dataclasses.field` does
    """Declare an attribute of a table class as a key of env.toml; the arguments are those of `TableField`."""
    usual = kind.kinds[0][1] if isinstance(kind, Either) else kind
    metadata = {_METADATA: TableField("", kind, text, example, required, aliases)}
    if required:
        return field(metadata=metadata)
    if isinstance(usual, TableOf):
        return field(default_factory=empty_table, metadata=metadata)
    return field(default=() if isinstance(usual, ListOf) else None, metadata=metadata)


def table_fields(table: type[Table]) -> tuple[TableField, ...]:
    """Give the keys that a table may have, in the order of the reference."""
    declared = ((item.name, item.metadata.get(_METADATA)) for item in fields(table))
    return tuple(replace(info, name=name) for name, info in declared if info is not None)


def known_keys(table: type[Table]) -> Mapping[str, TableField]:
    """Give the field for each key that may be written, aliases too."""
    listed = table_fields(table)
    return {alias: info for info in listed for alias in (info.name, *info.aliases)}


def read_entries(
    table: type[Table], entries: Iterable[Entry], source: TomlSource | None = None
) -> tuple[dict[str, Entry], list[Problem]]:
    """Sort entries by the key that they mean and check each value.

    Args:
        table: The class whose keys are known.
        entries: What was written; a later entry replaces an earlier one of another origin.
        source: The file of the entries, which gives each part of a value its line.

    Returns:
        The entries under their proper names, and what is wrong with them.
    """
    found: dict[str, Entry] = {}
    problems: list[Problem] = []
    known = known_keys(table)
    for entry in entries:
        info = known.get(entry.written)
        if info is None:
            message = f"[{entry.origin.label}] '{entry.written}' is not a key of {table.noun()}"
            problems.append(Problem(message, entry.origin.where, table.explain_unknown(entry.written)))
            continue
        earlier = found.get(info.name)
        if earlier is not None and earlier.origin.label == entry.origin.label:
            message = f"[{entry.origin.label}] '{earlier.written}' and '{entry.written}' are two names of one key"
            problems.append(Problem(message, entry.origin.where, f"Keep '{info.name}'."))
        found[info.name] = entry
    for name, entry in found.items():
        for wrong in known[name].kind.check(entry.value):
            where = source.where(entry.origin.label, entry.written, *wrong.key) if source else entry.origin.where
            message = f"[{entry.origin.label}] {key_text((entry.written, *wrong.key))} {wrong.message}"
            problems.append(Problem(message, where, wrong.remedy))
    return found, problems


def sound_part(kind: Kind, value: object) -> Any:  # noqa: ANN401 - whatever the key may hold
    """Give a value without its malformed elements; None where nothing of it can be used.

    Args:
        kind: What the value may be.
        value: A list, a table or a single value, perhaps a wrong one.
    """
    if isinstance(value, Mapping):
        return {name: element for name, element in value.items() if not any(kind.check({name: element}))}
    if isinstance(value, list | tuple):
        return tuple(element for element in value if not any(kind.check((element,))))
    return None if any(kind.check(value)) else value


def wrong_keys(table: type[Table], entries: Mapping[str, Entry]) -> frozenset[str]:
    """Give the keys whose values are wrong by themselves, and those that are required and not there.

    Args:
        table: The class whose keys are known.
        entries: As `read_entries` gives them.
    """
    missing = {info.name for info in table_fields(table) if info.required and info.name not in entries}
    kinds = {info.name: info.kind for info in table_fields(table)}
    return frozenset(missing | {name for name, entry in entries.items() if any(kinds[name].check(entry.value))})
