"""What a TOML value may be: each kind checks a value, names itself in the reference, and says what is wrong."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from nemo_runspec.errors import guess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.toml.lines import Key

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What services give out: a known beginning before a run of letters and digits mixed, or a long such run.
NOT_A_VALUE = (
    r"(?!(?:hf|gh[a-z]|github_pat|glpat|nvapi|sk|pk)[_-](?:\w+-)?(?=[A-Za-z]*\d)[A-Za-z0-9]{8})"
    r"(?!.*?(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16})"
)
"""Beginning of a pattern for names: what looks like the secret itself, pasted in place of its name, is none."""

# bool comes before int, and datetime before date, because each is a subclass of the other.
_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a number with a fraction"),
    (str, "a string"),
    (list, "a list"),
    (Mapping, "a table"),
    (dt.datetime, "a date and time"),
    (dt.date, "a date"),
    (dt.time, "a time of day"),
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a value.

    Args:
        message: Continues the key's name: "must be a string, not an integer".
        key: Path below the value, for an element of a list or a key of a table.
        remedy: What to do about it.
    """

    message: str
    key: Key = ()
    remedy: str | None = None


class Kind(Protocol):
    """What a value may be."""

    @property
    def label(self) -> str:
        """Give the kind as a noun for messages and the reference: "a string"."""

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value, and nothing for a right one."""


def type_name(value: object) -> str:
    """Name the TOML type of a value, without showing the value, which may be a secret."""
    return next((name for known, name in _TYPE_NAMES if isinstance(value, known)), type(value).__name__)


def _wrong_type(kind: Kind, value: object) -> Complaint:
    remedy = "Put it in quotes." if isinstance(value, dt.date | dt.time) else None
    return Complaint(f"must be {kind.label}, not {type_name(value)}", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Args:
        choices: The only values it may have; empty for any.
        pattern: What the whole string must match.
        noun: What it is, for messages.
        may_be_empty: Whether an empty string is a value too.
        confidential: Whether a wrong value may be a secret and is not shown.
    """

    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    noun: str = "a string"
    may_be_empty: bool = False
    confidential: bool = False

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        if not self.choices:
            return self.noun
        *others, last = (f'"{choice}"' for choice in self.choices)
        return f"{', '.join(others)} or {last}" if others else last

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value."""
        if not isinstance(value, str):
            fix = "Put it in quotes." if isinstance(value, int | float) and not self.choices else None
            wrong = _wrong_type(self, value)
            yield Complaint(wrong.message, remedy=wrong.remedy or fix)
        elif not value.strip() and not self.may_be_empty:
            yield Complaint(f"must be {self.label}, but it is empty")
        elif self.choices and value not in self.choices:
            yield Complaint(f'must be {self.label}, not "{value}"', remedy=guess(value, self.choices, what="values"))
        elif self.pattern is not None and not self.pattern.fullmatch(value):
            shown = "what stands here" if self.confidential else f'"{value}"'
            yield Complaint(f"must be {self.label}, not {shown}")


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number; a boolean is none.

    Args:
        minimum: Smallest value.
        maximum: Largest value, or None for no limit.
    """

    minimum: int
    maximum: int | None = None

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        if self.maximum is not None:
            return f"an integer from {self.minimum} to {self.maximum}"
        return f"an integer of at least {self.minimum}"

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value."""
        if isinstance(value, bool) or not isinstance(value, int):
            quoted = isinstance(value, str) and value.strip().isdigit()
            yield Complaint(_wrong_type(self, value).message, remedy="Leave out the quotes." if quoted else None)
        elif value < self.minimum or (self.maximum is not None and value > self.maximum):
            yield Complaint(f"must be {self.label}, not {value}")


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""

    label: str = "true or false"

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value."""
        if not isinstance(value, bool):
            yield _wrong_type(self, value)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list whose elements are all of one kind.

    Args:
        item: Kind of the elements.
        noun: What the list is, for messages.
    """

    item: Kind
    noun: str

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        return f"a list of {self.noun}"

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value, element by element."""
        if not isinstance(value, list | tuple):
            yield _wrong_type(self, value)
            return
        for position, element in enumerate(value):
            for wrong in self.item.check(element):
                yield Complaint(wrong.message, (position, *wrong.key), wrong.remedy)


_NAMES_REMEDY = "Use letters, digits and _."


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table with names of the user's own.

    Args:
        value: Kind of the values, or None where anything may stand.
        noun: What the table is, for messages.
        names: What each name must match, or None where any name may stand.
        confidential: Whether a wrong name may be a secret and is not shown.
    """

    value: Kind | None
    noun: str
    names: re.Pattern[str] | None = None
    confidential: bool = False

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        return f"a table of {self.noun}"

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value, key by key."""
        if not isinstance(value, Mapping):
            yield _wrong_type(self, value)
            return
        for name, element in value.items():
            if self.names is not None and not self.names.fullmatch(name):
                if self.confidential:
                    yield Complaint("has a key that is not a name of an environment variable", remedy=_NAMES_REMEDY)
                    continue
                yield Complaint("is not a name of an environment variable", (name,), _NAMES_REMEDY)
            for wrong in self.value.check(element) if self.value else ():
                yield Complaint(wrong.message, (name, *wrong.key), wrong.remedy)


@dataclass(frozen=True, slots=True)
class Record:
    """A table with known keys.

    Args:
        keys: Kind of each key.
        required: The keys that must be there, each with an example of the line that is missing.
    """

    keys: Mapping[str, Kind]
    required: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        return f"a table with {', '.join(self.keys)}"

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value, key by key."""
        if not isinstance(value, Mapping):
            yield _wrong_type(self, value)
            return
        for name, element in value.items():
            if name not in self.keys:
                yield Complaint("is not a known key", (name,), guess(name, self.keys, what="keys"))
                continue
            for wrong in self.keys[name].check(element):
                yield Complaint(wrong.message, (name, *wrong.key), wrong.remedy)
        for name, example in self.required.items():
            if name not in value:
                yield Complaint("is missing", (name,), f"Add, for example: {example}")


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds, told apart by the type of the value.

    Args:
        kinds: The kinds, each with the Python types that mean it.
    """

    kinds: tuple[tuple[tuple[type, ...], Kind], ...]

    @property
    def label(self) -> str:
        """Give the kind as a noun."""
        return ", or ".join(kind.label for _, kind in self.kinds)

    def check(self, value: object) -> Iterator[Complaint]:
        """Yield what is wrong with a value, judged by the kind that its type means."""
        for types, kind in self.kinds:
            if isinstance(value, types):
                yield from kind.check(value)
                return
        yield _wrong_type(self, value)
