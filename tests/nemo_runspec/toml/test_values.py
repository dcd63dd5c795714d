from __future__ import annotations

import json

import pytest

from nemo_runspec.toml.values import empty_table, freeze, thaw

VALUE = {"a": [1, {"b": ["c"]}], "d": True, "e": "text"}


def test_a_frozen_value_cannot_be_changed_at_any_depth() -> None:
    frozen = freeze(VALUE)
    assert frozen["a"][1]["b"] == ("c",)
    with pytest.raises(TypeError):
        frozen["d"] = False
    with pytest.raises(TypeError):
        frozen["a"][1]["b"] = ()


def test_a_frozen_value_does_not_follow_its_original() -> None:
    original = {"a": [1]}
    frozen = freeze(original)
    original["a"].append(2)
    assert frozen["a"] == (1,)


def test_thawing_gives_the_plain_value_back() -> None:
    assert thaw(freeze(VALUE)) == VALUE
    assert json.loads(json.dumps(thaw(freeze(VALUE)))) == VALUE


def test_the_empty_table_cannot_be_filled() -> None:
    assert dict(empty_table()) == {}
    with pytest.raises(TypeError):
        empty_table()["a"] = 1  # type: ignore[index] # the point of the test
