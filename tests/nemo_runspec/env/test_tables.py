from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env.tables import Entry, Origin, Table, key, known_keys, read_entries, sound_part, table_fields
from nemo_runspec.errors import Location
from nemo_runspec.toml.kinds import Integer, ListOf, TableOf, Text

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Table):
    size: int = key(Integer(1), "A size.", example="1", required=True, aliases=("length",))
    words: tuple[str, ...] = key(ListOf(Text(), "words"), "Words.", example="[]")
    more: Mapping[str, str] = key(TableOf(Text(), "strings"), "More.", example="{}")
    colour: str | None = key(Text(), "A colour.", example='"red"')


FILE = Path("folder/env.toml")
FIRST, SECOND = Origin("first"), Origin("second", Location(FILE, 4))


def test_fields_are_given_in_the_order_of_their_declaration() -> None:
    assert [(info.name, info.required) for info in table_fields(Sample)] == [
        ("size", True),
        ("words", False),
        ("more", False),
        ("colour", False),
    ]
    assert known_keys(Sample)["length"].name == "size"


def test_a_key_that_is_not_set_is_empty() -> None:
    sample = Sample(name="s", size=1)
    assert (sample.words, dict(sample.more), sample.colour) == ((), {}, None)
    with pytest.raises(TypeError, match="size"):
        Sample(name="s")


def test_only_keys_that_are_set_are_given_on() -> None:
    sample = Sample(name="s", size=1, words=("a",), origins={"words": FIRST})
    assert sample.as_config() == {"words": ["a"]}


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("slurm", Location(FILE, 12)), "slurm (env.toml:12)"),
        (Origin("x", Location(FILE)), "x (env.toml)"),
        (FIRST, "first"),
    ],
)
def test_an_origin_is_short(origin: Origin, text: str) -> None:
    assert str(origin) == text


def test_a_later_origin_wins_under_any_of_the_names() -> None:
    entries = [Entry(1, FIRST, "size"), Entry(2, SECOND, "length"), Entry("red", FIRST, "colour")]
    found, problems = read_entries(Sample, entries)
    assert problems == []
    assert {name: entry.value for name, entry in found.items()} == {"size": 2, "colour": "red"}


def test_a_value_that_was_replaced_is_not_judged() -> None:
    _, problems = read_entries(Sample, [Entry("wrong", FIRST, "size"), Entry(2, SECOND, "size")])
    assert problems == []


def test_problems_say_who_holds_the_key() -> None:
    entries = [Entry(0, SECOND, "length"), Entry(1, FIRST, "colr"), Entry(2, SECOND, "size")]
    _, problems = read_entries(Sample, entries)
    assert [(problem.message, problem.where) for problem in problems] == [
        ("[first] 'colr' is not a key of this table", None),
        ("[second] 'length' and 'size' are two names of one key", Location(FILE, 4)),
    ]


def test_the_sound_part_of_a_value_is_without_its_malformed_elements() -> None:
    table = TableOf(Text(), "strings")
    assert sound_part(table, {"a": "x", "b": 1}) == {"a": "x"}
    assert sound_part(ListOf(Text(), "words"), ("a", 1, "b")) == ("a", "b")
    assert sound_part(table, 5) is None
    assert sound_part(Integer(1), 5) == 5
