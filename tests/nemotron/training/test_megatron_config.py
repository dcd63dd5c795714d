"""Building a configuration as far as it goes without Megatron-Bridge; tests/contract has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ConfigError, DataError
from nemotron.training.megatron_config import build_config, read_blend

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "megatron.bridge.recipes.nemotronh.nemotron_3_nano_sft_config"


def test_a_recipe_that_is_not_in_this_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"module 'megatron\.bridge\.recipes\.nemotronh' cannot be imported"):
        build_config({"recipe": {"_target_": RECIPE}}, tmp_path)


@pytest.mark.parametrize("recipe", [None, {}, {"name": "nano"}, "nano"])
def test_a_configuration_without_a_recipe(tmp_path: Path, recipe: object) -> None:
    with pytest.raises(ConfigError, match=r"recipe\._target_ is needed"):
        build_config({"recipe": recipe}, tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read the shards"),
        ("{", "cannot read the shards"),
        ('{"train": ["1.0", "/data/a"]}', "'valid' has no entry"),
        ('{"train": null, "valid": null, "test": null}', "'train' has no entry"),
        ('["/data/a"]', "'train' has no entry"),
    ],
)
def test_a_blend_that_cannot_be_used(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "blend.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem) as caught:
        read_blend(tmp_path)
    assert "nemotron nano3 data prep pretrain" in str(caught.value)
