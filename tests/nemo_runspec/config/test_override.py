from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from nemo_runspec.config.override import apply_override, plain_tree, put
from nemo_runspec.context import Override
from nemo_runspec.errors import ConfigError

FILE = Path("config.yaml")


def _tree() -> DictConfig:
    tree = OmegaConf.create({"a": {"b": 1, "ref": "${nowhere}"}, "free": {}})
    assert isinstance(tree, DictConfig)
    return tree


def test_interpolations_stay_text() -> None:
    assert plain_tree(_tree())["a"]["ref"] == "${nowhere}"


def test_put_makes_sections_and_replaces_tables() -> None:
    tree = _tree()
    put(tree, "x.y.z", 1)
    put(tree, "a", {"c": 2})
    assert plain_tree(tree) == {"a": {"c": 2}, "free": {}, "x": {"y": {"z": 1}}}


def test_a_free_key_may_be_new() -> None:
    tree = _tree()
    apply_override(tree, Override("free.new", "1"), free_keys={"free.new"}, path=FILE)
    assert plain_tree(tree)["free"] == {"new": 1}


def test_below_an_interpolation_nothing_can_be_named() -> None:
    with pytest.raises(ConfigError, match=r"'a.ref' has no entry 'x'"):
        apply_override(_tree(), Override("a.ref.x", "1"), free_keys=(), path=FILE)
