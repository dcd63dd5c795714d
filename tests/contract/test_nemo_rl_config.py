"""The RL recipe, held against the recorded names of NeMo-RL's configuration: the library is in its image only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nemotron.training.nemo_rl import SECTIONS, build_config
from tests.contract.recipes import production_config, with_value, world_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.contract

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "nemo_rl_schema.json").read_text(encoding="utf-8"))
ANY = "*"


def _unknown(values: Mapping[str, Any], schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """List the entries that the schema does not have, and values where it has a section or the other way round."""
    for key, value in values.items():
        name = f"{place}{key}"
        if key not in schema or isinstance(value, dict) != (schema[key] is not None):
            yield name
        elif isinstance(value, dict) and schema[key] != ANY:
            yield from _unknown(value, schema[key], f"{name}.")


def _driver_config(config: Mapping[str, Any]) -> dict[str, Any]:
    built = build_config(config, Path("/workspace/run"))
    assert built.pop("defaults") == "/opt/nemo-rl/examples/nemo_gym/grpo_nanov3.yaml"
    return built


def test_every_entry_of_the_recipe_is_one_that_nemo_rl_reads() -> None:
    assert list(_unknown(_driver_config(production_config("rl")), SCHEMA["sections"])) == []


@pytest.mark.parametrize(
    "name",
    [
        "grpo.num_prompts",
        "loss_fn.kl_penalty",
        "policy.megatron_cfg.optimizer.learning_rate",
        "policy.generation.vllm_cfg.tensor_model_parallel_size",
        "checkpointing.pretrained_checkpoint.kind",
        "data.train.path",
        "cluster.nodes",
        "grpo.async_grpo",
        "grpo.seed.value",
    ],
)
def test_an_entry_that_nemo_rl_does_not_read_is_found(name: str) -> None:
    config = with_value(production_config("rl"), name, 1)
    section = name.rsplit(".", 1)[0] if name.endswith(".value") else name
    assert list(_unknown(_driver_config(config), SCHEMA["sections"])) == [section]


def test_the_schema_says_where_it_was_read_and_covers_what_the_engine_sends() -> None:
    assert SCHEMA["source"]["repository"] == "https://github.com/NVIDIA-NeMo/RL"
    assert SCHEMA["source"]["version"] == "0.7.0"
    assert SCHEMA["image"].endswith(f":v{SCHEMA['source']['version']}")
    assert sorted(SCHEMA["sections"]) == sorted(SECTIONS)


def test_the_batch_and_the_parallel_sizes_fit_the_cluster() -> None:
    config = production_config("rl")
    policy, grpo, cluster = config["policy"], config["grpo"], config["cluster"]
    gpus = cluster["num_nodes"] * cluster["gpus_per_node"]
    assert gpus == world_size("rl")
    assert policy["train_global_batch_size"] == grpo["num_prompts_per_step"] * grpo["num_generations_per_prompt"]
    megatron = policy["megatron_cfg"]
    one_model = (
        megatron["tensor_model_parallel_size"]
        * megatron["pipeline_model_parallel_size"]
        * megatron["context_parallel_size"]
    )
    assert gpus % one_model == 0
    assert policy["train_global_batch_size"] % (gpus // one_model) == 0
    assert gpus % policy["generation"]["vllm_cfg"]["tensor_parallel_size"] == 0
