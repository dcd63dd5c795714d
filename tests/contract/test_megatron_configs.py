"""The pretraining and SFT recipes, built by the real Megatron-Bridge and megatron-core, and checked by them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nemotron.training.megatron_config import OWN_SECTIONS
from tests.contract.probing import ask
from tests.contract.recipes import leaves, production_config, with_value, world_size

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.contract

STAGES = ("pretrain", "sft")
RUN_DIR = "/workspace/run"

# A changed entry of a recipe, and what the error has to name. The first of each is a key of a section that the library
# does not have; the others are the ways in which it would silently go wrong.
WRONG = {
    "pretrain": {
        "train.train_iter": ("'train.train_iter'", "Did you mean 'train_iters'?"),
        "modle.seq_length": ("'modle'", "Did you mean 'model'?"),
        "dataset.seq_length": ("'dataset.seq_length'", "Did you mean 'sequence_length'?"),
        "scheduler.warmup_iters": ("'scheduler.warmup_iters'", "Did you mean 'lr_warmup_iters'?"),
        "peft.dim": ("'peft'", "peft._target_"),
        "recipe._target_": ("recipes.nemotronh' has no function 'nemotron_3_nano_pretrain'", "Did you mean"),
        "recipe.seq_length": ("refuses its arguments", "sections"),
    },
    "sft": {
        "optimizer.learning_rate": ("'optimizer.learning_rate'", "Known keys"),
        "dataset.paths": ("'dataset'", "paths"),
        "dataset.packed_sequence_specs.pack_size": ("'dataset'", "pack_size"),
        "comm_overlap.tp_comm_overlap": ("'comm_overlap'", "comm_overlap._target_"),
    },
}
WRONG_VALUES = {"recipe._target_": "megatron.bridge.recipes.nemotronh.nemotron_3_nano_pretrain"}


def _sections(config: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in config.items() if name not in OWN_SECTIONS}


def _requests(folder: Path) -> dict[str, dict[str, Any]]:
    blend = {"train": ["3.0", "/data/a", "1.0", "/data/b"], "valid": ["1.0", "/data/c"], "test": None}
    (folder / "blend.json").write_text(json.dumps(blend), encoding="utf-8")
    requests: dict[str, dict[str, Any]] = {"versions": {"kind": "versions"}, "interface": {"kind": "interface"}}
    for stage in STAGES:
        config = production_config(stage)
        request: dict[str, Any] = {"kind": "build", "run_dir": RUN_DIR, "world_size": world_size(stage)}
        read = [name for name, _ in leaves(_sections(config))]
        read += ["model.num_layers", "checkpoint.save", "checkpoint.load", "logger.tensorboard_dir"]
        requests[stage] = {**request, "config": config, "read": read}
        for name in WRONG[stage]:
            value = WRONG_VALUES.get(name, 1)
            requests[f"{stage} {name}"] = {**request, "config": with_value(config, name, value), "read": []}
    requests["pretrain"]["blend"] = str(folder)
    requests["pretrain"]["read"] += ["dataset.blend_per_split", "dataset.split", "dataset.path_to_cache"]
    return requests


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("megatron")
    return ask(_requests(folder), folder)


def test_the_library_is_the_real_one(answers: dict[str, Any]) -> None:
    versions = answers["versions"]["value"]
    assert versions["megatron-bridge"] == "0.3.1"
    assert versions["megatron-core"] == "0.16.1"


@pytest.mark.parametrize("stage", STAGES)
def test_every_value_of_a_recipe_arrives_and_the_library_accepts_the_whole(answers: dict[str, Any], stage: str) -> None:
    assert "error" not in answers[stage], answers[stage]
    built = answers[stage]["value"]
    expected = dict(leaves(_sections(production_config(stage))))
    assert {name: built[name] for name in expected} == expected
    assert built["model.num_layers"] == 52


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoints_and_logs_go_to_the_folder_of_the_run(answers: dict[str, Any], stage: str) -> None:
    built = answers[stage]["value"]
    assert built["checkpoint.save"] == f"{RUN_DIR}/checkpoints"
    assert built["checkpoint.load"] == built["checkpoint.save"]
    assert built["logger.tensorboard_dir"] == f"{RUN_DIR}/tensorboard"


def test_pretraining_reads_the_shards_of_each_split(answers: dict[str, Any]) -> None:
    built = answers["pretrain"]["value"]
    assert built["dataset.blend_per_split"] == [[["/data/a", "/data/b"], [3.0, 1.0]], [["/data/c"], [1.0]], None]
    assert built["dataset.split"] is None
    assert built["dataset.path_to_cache"] == f"{RUN_DIR}/index_cache"


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage in STAGES for name in WRONG[stage]])
def test_what_the_library_does_not_know_is_an_error_that_names_it(
    answers: dict[str, Any], stage: str, name: str
) -> None:
    error = answers[f"{stage} {name}"].get("error")
    assert error is not None, f"{name} was taken"
    assert error["type"] == "ConfigError"
    for part in WRONG[stage][name]:
        assert part in error["message"]


def test_the_engine_calls_the_library_as_it_wants_to_be_called(answers: dict[str, Any]) -> None:
    assert "error" not in answers["interface"], answers["interface"]
    interface = answers["interface"]["value"]
    assert interface["arguments"] == ["callbacks", "config", "forward_step_func"]
    assert interface["forward_step"][:3] == ["state", "data_iterator", "model"]
    assert interface["events"] == ["on_train_start", "on_train_step_end"]
    assert {"state", "loss_dict"} <= set(interface["context"])
    assert "step" in interface["train_state"]
