"""What data preparation writes, read by the real Megatron-Bridge and megatron-core."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nemotron.data_prep.binidx import token_dtype
from nemotron.data_prep.packing import Sample
from tests.contract.probing import ask
from tests.contract.recipes import production_config, with_value
from tests.nemotron.data_prep.small import write_packed, write_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.contract

PAD = 2
PACK_SIZE = 10
ASSISTANT = 100
# Two fit one pack, the third needs its own. Tokens above ASSISTANT are the assistant's, the only ones to learn from.
CHATS = ([5, 6, 107, 108], [11, 112, 113], [21, 22, 123, 124, 25, 26, 127, 128, 129])
DOCUMENTS = ([7, 8, 9, 0], [300, 0], [1, 2, 3, 4, 5, 0])


def _trained(tokens: Sequence[int]) -> list[int]:
    return [int(token > ASSISTANT) for token in tokens]


def _sample(ids: list[int]) -> Sample:
    return Sample(np.array(ids, np.int32), np.array([*_trained(ids[1:]), 0], np.uint8))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    write_pair(folder / "shard", (np.array(ids) for ids in DOCUMENTS), token_dtype(4096))
    whole, without_validation = folder / "whole", folder / "without-validation"
    samples = [_sample(ids) for ids in CHATS]
    write_packed(whole / "splits" / "train" / "000000.parquet", samples, PACK_SIZE, seed=0)
    write_packed(whole / "splits" / "valid" / "000000.parquet", samples[:1], PACK_SIZE, seed=0)
    write_packed(without_validation / "splits" / "train" / "000000.parquet", samples, PACK_SIZE, seed=0)
    config = with_value(production_config("sft"), "dataset.packed_sequence_specs.packed_sequence_size", PACK_SIZE)

    def batch(name: str, value: object) -> dict[str, Any]:
        changed = with_value(config, name, value)
        return {"kind": "batch", "config": changed, "run_dir": "/run", "pad_id": PAD, "rows": [0, 1]}

    requests = {
        "shards": {"kind": "shards", "prefix": str(folder / "shard")},
        "batch": batch("dataset.path", str(whole)),
        "without validation": batch("dataset.path", str(without_validation)),
        "without data": batch("dataset.path", str(folder)),
        "without size": batch("dataset.packed_sequence_specs", None),
    }
    return ask(requests, folder)


def test_megatron_core_reads_the_documents(answers: dict[str, Any]) -> None:
    read = answers["shards"]["value"]
    assert read["documents"] == list(DOCUMENTS)
    assert read["document_indices"] == [0, 1, 2, 3]
    assert read["dtype"] == "uint16"


def test_megatron_bridge_trains_on_the_assistants_tokens_of_the_packs(answers: dict[str, Any]) -> None:
    assert "error" not in answers["batch"], answers["batch"]
    batch = answers["batch"]["value"]
    assert (batch["train"], batch["validation"], batch["test"]) == (2, 1, None)
    chats = []
    columns = ("tokens", "labels", "loss_mask", "position_ids", "cu_seqlens")
    for tokens, labels, mask, positions, ends in zip(*(batch[name] for name in columns), strict=True):
        assert mask == _trained(labels)
        for start, end in pairwise(end for end in ends if end >= 0):
            if tokens[start] != PAD:
                chats.append([*tokens[start:end], labels[end - 1]])
                assert positions[start:end] == list(range(end - start))
    assert sorted(chats) == sorted(CHATS)


def test_data_without_validation_packs_trains_without_validation(answers: dict[str, Any]) -> None:
    batch = answers["without validation"]["value"]
    assert (batch["train"], batch["validation"]) == (2, None)


def test_a_folder_without_packs_says_what_makes_them(answers: dict[str, Any]) -> None:
    error = answers["without data"]["error"]
    assert error["type"] == "DataError"
    assert "nemotron nano3 data prep sft" in error["message"]


def test_packs_need_their_size(answers: dict[str, Any]) -> None:
    error = answers["without size"]["error"]
    assert error["type"] == "ConfigError"
    assert "packed_sequence_size is needed" in error["message"]
