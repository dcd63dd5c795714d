from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from nemo_runspec.config.override import apply_override, plain_tree, put
from nemo_runspec.context import Override, parse_override
from nemo_runspec.errors import ConfigError

FILE = Path("config.yaml")


def _tree() -> DictConfig:
    tree = OmegaConf.create({"a": {"b": 1, "ref": "${nowhere}"}, "free": {}})
    assert isinstance(tree, DictConfig)
    return tree


def _override(text: str) -> Override:
    override = parse_override(text)
    assert override is not None
    return override


def test_interpolations_stay_text() -> None:
    assert plain_tree(_tree())["a"]["ref"] == "${nowhere}"


def test_put_makes_sections_and_replaces_tables() -> None:
    tree = _tree()
    put(tree, "x.y.z", 1)
    put(tree, "a", {"c": 2})
    assert plain_tree(tree) == {"a": {"c": 2}, "free": {}, "x": {"y": {"z": 1}}}


def test_a_free_key_may_be_new() -> None:
    tree = _tree()
    apply_override(tree, Override("free.new", "1"), may_be_new=True, path=FILE)
    assert plain_tree(tree)["free"] == {"new": 1}


@pytest.mark.parametrize("text", ["a.b.x=1", "++a.b.x=1", "a.b.x.y=1", "++a.b.x.y=1"])
def test_below_a_single_value_nothing_can_be_set(text: str) -> None:
    tree = _tree()
    with pytest.raises(ConfigError, match=r"'a\.b' is a single value \(now 1\)") as caught:
        apply_override(tree, _override(text), path=FILE)
    assert "++" not in (caught.value.remedy or "")
    assert tree == _tree()


@pytest.mark.parametrize("index", ["2", "-1", "x"])
@pytest.mark.parametrize("sign", ["", "++"])
def test_a_list_is_not_made_longer(index: str, sign: str) -> None:
    tree = OmegaConf.create({"names": ["a", "b"]})
    assert isinstance(tree, DictConfig)
    with pytest.raises(ConfigError, match=f"'names' has no entry '{index}'") as caught:
        apply_override(tree, _override(f"{sign}names.{index}=c"), path=FILE)
    assert caught.value.remedy == "It is a list of 2; a longer one is given as a whole: names=[...]."


def test_an_empty_entry_becomes_a_section_where_that_is_meant() -> None:
    tree = OmegaConf.create({"a": None})
    assert isinstance(tree, DictConfig)
    with pytest.raises(ConfigError, match=r"added with \+\+a\.b=1"):
        apply_override(tree, _override("a.b=1"), path=FILE)
    apply_override(tree, _override("++a.b=1"), path=FILE)
    assert plain_tree(tree) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${", "the value cannot be read"),
        ("!!timestamp 2024-01-01", "the value cannot be read"),
        ("7" * 5000, "the value cannot be read: Exceeds the limit"),
        ("0x" + "7" * 5000, "the value cannot be read: Exceeds the limit"),
        ("[" * 3000, "override "),
        ("!!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_few_words(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        apply_override(_tree(), Override("free.x", value, add=True), path=FILE)
    assert len(str(caught.value)) < 500


def test_a_number_that_is_only_right_as_text_is_text() -> None:
    tree = _tree()
    for text, value in (("1", "1"), ("1e5", "1e5"), ("true", "true"), ("null", None), ("'2'", "2"), ("[1]", [1])):
        apply_override(
            tree, Override("free.x", text), path=FILE, may_be_new=True, fits=lambda given: isinstance(given, str)
        )
        assert plain_tree(tree)["free"] == {"x": value}
