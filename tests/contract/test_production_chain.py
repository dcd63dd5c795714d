"""The production configurations fit each other, and the data preparation that they start with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from omegaconf import OmegaConf

from nemo_runspec.config.resolvers import Resolution, resolve
from nemo_runspec.errors import ConfigError
from nemotron.data_prep import pretrain, rl, sft
from nemotron.settings import read_settings
from tests.contract.recipes import RECIPES, SampleStore, production_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nemo_runspec.artifacts import ArtifactStore

SETTINGS = {"pretrain": pretrain.Settings, "sft": sft.Settings, "rl": rl.Settings}


def _tree(stage: str, config: str) -> DictConfig:
    return cast("DictConfig", OmegaConf.load(RECIPES / stage / "config" / f"{config}.yaml"))


def _resolved(tree: DictConfig) -> dict[str, Any]:
    store = cast("ArtifactStore", SampleStore())
    config = resolve(tree, Resolution(store=store), path=RECIPES / "default.yaml")
    del config["run"]
    return config


@pytest.mark.parametrize("stage", SETTINGS)
def test_data_preparation_takes_its_configuration_with_a_blend(stage: str) -> None:
    tree = _tree(stage, "data_prep/default")
    tree.blend = "blend.json"
    settings: Any = read_settings(_resolved(tree), SETTINGS[stage])
    assert settings.blend == "blend.json"
    assert settings.tokenizer.path == "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"


@pytest.mark.parametrize("stage", SETTINGS)
def test_data_preparation_asks_for_the_blend(stage: str) -> None:
    with pytest.raises(ConfigError, match="'blend' has no value") as caught:
        _resolved(_tree(stage, "data_prep/default"))
    assert "blend=VALUE" in str(caught.value)


@pytest.mark.parametrize("stage", SETTINGS)
def test_each_stage_reads_the_data_prepared_for_it(stage: str) -> None:
    assert _tree(stage, "default").run.data == f"{_tree(stage, 'data_prep/default').artifact.name}:latest"


@pytest.mark.parametrize(("earlier", "later"), [("pretrain", "sft"), ("sft", "rl")])
def test_each_stage_starts_from_the_model_of_the_one_before(earlier: str, later: str) -> None:
    assert _tree(later, "default").run.model == f"{_tree(earlier, 'default').artifact.name}:latest"


def test_checkpoints_are_handed_on_in_the_format_that_is_published() -> None:
    assert production_config("sft")["checkpoint"]["pretrained_checkpoint"] == "/data/nano3-pretrain-model/path"
    assert production_config("rl")["checkpointing"]["pretrained_checkpoint"] == {
        "path": "/data/nano3-sft-model/path",
        "format": "megatron_bridge",
    }


def test_packs_are_as_long_as_the_sequences_that_sft_trains_on() -> None:
    pack_size = _tree("sft", "data_prep/default").pack_size
    config = production_config("sft")
    assert config["model"]["seq_length"] == pack_size
    assert config["dataset"]["packed_sequence_specs"]["packed_sequence_size"] == pack_size


def test_every_stage_uses_one_tokenizer() -> None:
    names = {production_config(stage)["tokenizer"]["tokenizer_model"] for stage in ("pretrain", "sft")}
    names.add(production_config("rl")["policy"]["model_name"])
    names.update(_tree(stage, "data_prep/default").tokenizer.path for stage in SETTINGS)
    assert len(names) == 1
