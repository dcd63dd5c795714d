from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from nemo_runspec.errors import ConfigError, UsageError
from nemotron.settings import check_positive, read_settings, refuse_arguments

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage


@dataclass(frozen=True)
class Inner:
    steps: int
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    inner: Inner
    models: dict[str, str]
    path: str | None
    extra: Inner | None = None


GOOD: dict[str, object] = {"inner": {"steps": 3}, "models": {"a": "x"}, "path": None}


def test_tables_become_dataclasses_and_common_entries_are_left_alone() -> None:
    common = {"artifact": {"name": "x"}, "output_dir": "y", "engine": "hf"}
    assert read_settings(GOOD | common, Outer) == Outer(Inner(3), {"a": "x"}, None)
    assert read_settings(GOOD | {"extra": {"steps": 1, "rate": 2}}, Outer).extra == Inner(1, 2.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"innner": {}}, r"unknown configuration entry 'innner'\n.*'inner'"),
        ({"inner": {"steps": 3, "rat": 1}}, r"unknown configuration entry 'inner\.rat'\n.*'rate'"),
        ({"inner": {}}, r"no entry 'inner\.steps'\n.*a whole number"),
        ({"inner": {"steps": "3"}}, r"'inner\.steps' is '3'\n.*a whole number"),
        ({"inner": {"steps": True}}, r"'inner\.steps' is True"),
        ({"inner": {"steps": 2.5}}, r"'inner\.steps' is 2\.5"),
        ({"inner": {"steps": 1, "rate": "fast"}}, r"'inner\.rate' is 'fast'\n.*a number"),
        ({"inner": 3}, r"'inner' is 3\n.*a table"),
        ({"models": ["a"]}, r"'models' is \['a'\]"),
        ({"path": 3}, r"'path' is 3\n.*text or null"),
        ({"extra": "no"}, r"'extra' is 'no'\n.*table or null"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(GOOD | changes, Outer)


def test_a_missing_table() -> None:
    with pytest.raises(ConfigError, match=r"no entry 'inner'\n.*a table"):
        read_settings({"models": {}, "path": None}, Outer)


@pytest.mark.parametrize(("table", "named"), [("train", r"train\.steps is 0"), ("", "^steps is 0")])
def test_numbers_that_must_be_above_zero(table: str, named: str) -> None:
    check_positive(Inner(1), table, "steps", "rate")
    with pytest.raises(ConfigError, match=named):
        check_positive(Inner(0), table, "rate", "steps")


def test_arguments_that_nothing_reads_are_refused() -> None:
    refuse_arguments(cast("Stage", SimpleNamespace(arguments=[])))
    with pytest.raises(UsageError, match=r"nothing reads the argument '--train\.steps=5'"):
        refuse_arguments(cast("Stage", SimpleNamespace(arguments=["--train.steps=5"])))
