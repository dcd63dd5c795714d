"""Whole preparations, as their stages publish them, read by the real megatron-core and Megatron-Bridge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from nemo_runspec.artifacts import ArtifactStore
from nemotron.data_prep import pretrain, sft
from nemotron.data_prep.packing import longest_sequence
from nemotron.data_prep.tokenizer import TextTokenizer, load_tokenizer
from tests.contract.packed_rows import held_sequences
from tests.contract.probing import ask
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from nemo_runspec.artifacts import Manifest

pytestmark = pytest.mark.contract

ODD = (
    "",
    "a </s> b <|im_end|> <|endoftext|>",
    "\u65e5\u672c\u8a9e \U0001f469\u200d\U0001f680 e\u0301\u0000",
    "\r\n\t  x" * 40,
)
WEIGHTS = {"code": 1.0, "prose": 3.0}
SAMPLES = (3000, 30, 0)
PACK_SIZE = 256
MULTIPLE = 4


@dataclass(frozen=True)
class Made:
    """What the stages made of some data."""

    texts: dict[str, list[str]]
    tokenizer: TextTokenizer
    blend: dict[str, list[str] | None]
    packs: Path


def _lines(path: Path, rows: list[dict[str, Any]], weight: float) -> dict[str, Any]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"name": path.stem, "path": path.name, "weight": weight}


def _blend(path: Path, *data_sets: dict[str, Any]) -> str:
    path.write_text(json.dumps({"datasets": data_sets}), encoding="utf-8")
    return str(path)


def _conversation(number: int) -> dict[str, Any]:
    turns = [("user", f"add {number}" * (number % 9 + 1)), ("assistant", f"return {number}\n" * (number % 5 + 1))]
    return {"messages": [{"role": role, "content": content} for role, content in turns * (number % 2 + 1)]}


def _manifest(folder: Path) -> Manifest:
    return ArtifactStore(str(folder / "artifacts")).get("made")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("prepared")
    tokenizer = small_tokenizer(folder / "tokenizer")
    texts = {
        "code": [f"def f{number}(a):\n    return a + {number}\n" * (number % 11 + 1) for number in range(400)],
        "prose": [*ODD, *(f"The {number}th of {number + 1} sentences." for number in range(120))],
    }
    sets = [
        _lines(folder / f"{name}.jsonl", [{"text": text} for text in found], WEIGHTS[name])
        for name, found in texts.items()
    ]
    common = {"tokenizer": {"path": str(folder / "tokenizer")}, "valid_fraction": 0.1, "seed": 1, "workers": 1}
    blend = _blend(folder / "texts.json", *sets)
    pretrain.prepare(stage(folder / "pretrain", blend=blend, shard_size="8KiB", **common))
    chats = _lines(folder / "chats.jsonl", [_conversation(number) for number in range(150)], 1.0)
    packing = {"pack_size": PACK_SIZE, "max_tokens": longest_sequence(PACK_SIZE, MULTIPLE), "pad_seq_to_mult": MULTIPLE}
    sft.prepare(stage(folder / "sft", blend=_blend(folder / "chats.json", chats), **common, **packing))
    content = Path(str(_manifest(folder / "pretrain").field("blend"))).read_text(encoding="utf-8")
    return Made(texts, tokenizer, json.loads(content), Path(_manifest(folder / "sft").path) / "splits")


@pytest.fixture(scope="module")
def answers(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "blend.json").write_text(json.dumps(made.blend), encoding="utf-8")
    prefixes = [prefix for words in made.blend.values() for prefix in (words or [])[1::2]]
    end = made.tokenizer.end_of_text
    sampled = {"sequence_length": 16, "samples": SAMPLES, "vocabulary": made.tokenizer.vocabulary, "end": end}
    packs = {"pack_size": PACK_SIZE, "pad_id": end, "pad_seq_to_mult": MULTIPLE, "metadata": None}
    requests: dict[str, dict[str, Any]] = {
        "pairs": {"kind": "pairs", "prefixes": prefixes, "mmap": True},
        "blend": {"kind": "blend", "blend": str(folder / "blend.json"), "cache": str(folder / "cache"), **sampled},
        **{
            split: {"kind": "packs", "file": str(made.packs / split / "*.parquet"), **packs}
            for split in ("train", "valid")
        },
    }
    return ask(requests, folder)


def test_megatron_core_reads_every_document_of_every_shard_once(answers: dict[str, Any], made: Made) -> None:
    backend = Tokenizer.from_file(str(made.tokenizer.folder / "tokenizer.json"))
    backend.encode_special_tokens = True
    end = made.tokenizer.end_of_text
    read = answers["pairs"]["value"]
    assert len(read) > 6
    found = [sequence for pair in read.values() for sequence in pair["sequences"]]
    texts = [text for part in made.texts.values() for text in part if text]
    assert sorted(found) == sorted([*backend.encode(text, add_special_tokens=False).ids, end] for text in texts)
    assert all(sequence.count(end) == 1 for sequence in found)
    assert made.blend["train"] is not None
    assert made.blend["valid"] is not None
    assert made.blend["test"] is None


def test_megatron_samples_shards_by_their_tokens_and_data_sets_by_their_weight(
    answers: dict[str, Any], made: Made
) -> None:
    read = answers["blend"]["value"]["train"]
    weights = np.array(read["weights"])
    assert weights.sum() == pytest.approx(sum(WEIGHTS.values()))
    assert np.abs(np.array(read["samples"]) / sum(read["samples"]) - weights / weights.sum()).max() < 0.002
    lengths = answers["pairs"]["value"]
    tokens = np.array([sum(lengths[prefix]["lengths"]) for prefix in read["prefixes"]])
    # Two data sets, so two ratios of weight to tokens.
    ratios = np.sort(weights / tokens)
    jumps = np.flatnonzero(np.diff(ratios) > ratios[1:] * 1e-9)
    assert len(jumps) == 1
    assert read["prefixes"] == (made.blend["train"] or [])[1::2]
    assert answers["blend"]["value"]["test"] is None


@pytest.mark.parametrize("split", ["train", "valid"])
def test_megatron_bridge_collates_the_packs_of_a_split(answers: dict[str, Any], made: Made, split: str) -> None:
    (path,) = (made.packs / split).glob("*.parquet")
    rows = answers[split]["value"]["rows"]
    found = held_sequences(rows, path, PACK_SIZE, made.tokenizer.end_of_text)
    assert found
    assert all(len(tokens) % MULTIPLE == 0 and any(mask) for tokens, _, mask in found)
    opening = made.tokenizer.backend.token_to_id("<|im_start|>")
    assert all(tokens[0] == opening for tokens, _, _ in found)


def test_megatron_bridge_learns_the_answers_and_nothing_else(answers: dict[str, Any], made: Made) -> None:
    learnt = []
    for split in ("train", "valid"):
        for row in answers[split]["value"]["rows"]:
            kept = [label for label, mask in zip(row["labels"], row["loss_mask"], strict=True) if mask]
            learnt.append(str(made.tokenizer.backend.decode(kept, skip_special_tokens=False)))
    expected = [
        str(message["content"])
        for number in range(150)
        for message in _conversation(number)["messages"]
        if message["role"] == "assistant"
    ]
    said = [part.strip() for text in learnt for part in text.split("<|im_end|>") if part.strip()]
    assert sorted(said) == sorted(text.strip() for text in expected)


def test_the_tokenizer_that_is_published_loads(made: Made) -> None:
    assert load_tokenizer(str(made.packs.parent / "tokenizer")).vocabulary == made.tokenizer.vocabulary
