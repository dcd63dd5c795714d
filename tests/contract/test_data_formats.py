"""What data preparation writes, read by the real megatron-core and Megatron-Bridge at the size of real shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nemotron.data_prep.binidx import PairWriter, token_dtype
from nemotron.data_prep.blend import SPLITS
from nemotron.data_prep.megatron_blend import BlendPart, Prefix, compose, write_blend
from nemotron.data_prep.packing import (
    EncodedShard,
    Sequences,
    longest_sequence,
    pack,
    pack_metadata,
    write_metadata,
    write_rows,
)
from tests.contract.packed_rows import held_sequences
from tests.contract.probing import ask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.contract

VOCABULARIES = {"uint16": 65_000, "int32": 131_072}
END = 2
# Tokens of a prefix are a range of its own, from this number times its own on.
RANGE = 1000
SEQUENCE_LENGTH = 16
SAMPLES = (4000, 40, 0)
PACK_SIZE = 512
PADDINGS = (1, 8)


def _documents(vocabulary: int, seed: int) -> list[list[int]]:
    """Give documents of 1 to 4000 tokens, with the least and the largest token among them."""
    chance = np.random.default_rng(seed)
    lengths = [1, 2, 4000, *chance.integers(1, 300, 200).tolist()]
    return [[0, vocabulary - 1, END], *(chance.integers(0, vocabulary, length).tolist() for length in lengths)]


def _write_pair(prefix: Path, documents: Sequence[Sequence[int]], vocabulary: int) -> Prefix:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    writer = PairWriter(prefix, token_dtype(vocabulary))
    # In several pieces, as the batches of a shard come.
    for start in range(0, len(documents), 50):
        part = documents[start : start + 50]
        ids = np.array([token for document in part for token in document])
        writer.append(ids, np.array([len(document) for document in part]))
    writer.close()
    return Prefix(prefix, sum(map(len, documents)))


def _shard(folder: Path, number: int, documents: int) -> Prefix:
    """Write a shard whose tokens no other shard has."""
    document = list(range(number * RANGE, number * RANGE + 20))
    return _write_pair(folder / f"shard-{number}", [document] * documents, VOCABULARIES["int32"])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prefix]:
    folder = tmp_path_factory.mktemp("shards")
    sizes = {"large": 900, "small": 100, "other": 50, "valid": 30}
    return {name: _shard(folder, number, size) for number, (name, size) in enumerate(sizes.items(), 1)}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, Sequences]]:
    """Pack random sequences for each padding; the metadata lie beside."""
    chance = np.random.default_rng(5)
    longest = longest_sequence(PACK_SIZE, max(PADDINGS))
    lengths = np.clip(chance.lognormal(4.0, 1.0, 150), 3, longest).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    # No end token inside: Megatron-Bridge finds where a padded sequence ends by the end tokens.
    ids = chance.integers(END + 1, 30_000, offsets[-1]).astype(np.int32)
    mask = chance.integers(0, 2, offsets[-1]).astype(np.uint8)
    mask[offsets[1:] - 1] = 0
    made = {}
    for multiple in PADDINGS:
        folder = tmp_path_factory.mktemp(f"packed-{multiple}")
        sequences = Sequences([EncodedShard(ids, mask, offsets)], multiple=multiple, pad_id=END)
        bins = pack(sequences.lengths, PACK_SIZE, seed=1)
        write_rows(folder / "000000.parquet", sequences, bins)
        write_metadata(folder / "metadata.json", [pack_metadata(sequences.lengths, bins, PACK_SIZE)])
        made[multiple] = folder, sequences
    return made


@pytest.fixture(scope="module")
def answers(
    shards: dict[str, Prefix], packed: dict[int, tuple[Path, Sequences]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("formats")
    prefixes = [str(folder / name) for name in VOCABULARIES]
    for name, vocabulary in VOCABULARIES.items():
        _write_pair(folder / name, _documents(vocabulary, vocabulary), vocabulary)
    parts = [
        BlendPart(3.0, {"train": [shards["large"], shards["small"]], "valid": [shards["valid"]]}),
        BlendPart(1.0, {"train": [shards["other"]]}),
    ]
    write_blend(folder / "blend.json", compose(parts))
    sampled = {"sequence_length": SEQUENCE_LENGTH, "samples": SAMPLES, "vocabulary": 131_072, "end": END}
    requests: dict[str, dict[str, Any]] = {
        "mapped": {"kind": "pairs", "prefixes": prefixes, "mmap": True},
        "read": {"kind": "pairs", "prefixes": prefixes, "mmap": False},
        "blend": {"kind": "blend", "blend": str(folder / "blend.json"), "cache": str(folder / "cache"), **sampled},
    }
    for multiple, (place, _) in packed.items():
        request = {"kind": "packs", "file": str(place / "*.parquet"), "pack_size": PACK_SIZE, "pad_id": END}
        request |= {"pad_seq_to_mult": multiple, "metadata": None}
        requests[f"packs {multiple}"] = request
        requests[f"packs {multiple} with metadata"] = request | {"metadata": str(place / "metadata.json")}
    return {"folder": folder, **ask(requests, folder)}


@pytest.mark.parametrize("way", ["mapped", "read"])
@pytest.mark.parametrize("dtype", VOCABULARIES)
def test_megatron_core_reads_every_sequence_of_a_pair(answers: dict[str, Any], dtype: str, way: str) -> None:
    read = answers[way]["value"][str(answers["folder"] / dtype)]
    documents = _documents(VOCABULARIES[dtype], VOCABULARIES[dtype])
    assert read["exists"] is True
    assert read["dtype"] == dtype
    assert read["sequences"] == documents
    assert read["halves"] == [document[len(document) // 2 :] for document in documents]
    assert read["lengths"] == [len(document) for document in documents]
    assert read["document_indices"] == list(range(len(documents) + 1))


def test_megatron_takes_the_blend_and_an_absent_split(answers: dict[str, Any], shards: dict[str, Prefix]) -> None:
    read = answers["blend"]["value"]
    written = json.loads((answers["folder"] / "blend.json").read_text(encoding="utf-8"))
    assert list(written) == list(SPLITS)
    assert written["test"] is None
    assert read["test"] is None
    assert all(isinstance(word, str) for split in ("train", "valid") for word in written[split])
    assert read["train"]["prefixes"] == [str(shards[name].path) for name in ("large", "small", "other")]
    assert read["valid"]["prefixes"] == [str(shards["valid"].path)]


def test_every_shard_is_sampled_by_its_tokens_and_its_data_sets_weight(
    answers: dict[str, Any], shards: dict[str, Prefix]
) -> None:
    read = answers["blend"]["value"]["train"]
    total = sum(read["samples"])
    assert total >= SAMPLES[0]
    # Three quarters are the first data set's, of which the large shard has nine tenths.
    expected = np.array([0.75 * 0.9, 0.75 * 0.1, 0.25])
    assert np.abs(np.array(read["samples"]) / total - expected).max() < 0.002
    weights = np.array(read["weights"])
    assert np.allclose(weights / weights.sum(), expected)
    assert shards["large"].tokens == 9 * shards["small"].tokens
    for number, tokens in enumerate(read["tokens"], 1):
        assert tokens == list(range(number * RANGE, number * RANGE + 20))


def test_a_split_of_one_shard_is_read_from_it(answers: dict[str, Any]) -> None:
    read = answers["blend"]["value"]["valid"]
    assert read["samples"][0] >= SAMPLES[1]
    assert read["tokens"] == [list(range(4 * RANGE, 4 * RANGE + 20))]


@pytest.mark.parametrize("multiple", PADDINGS)
def test_megatron_bridge_collates_what_a_faithful_reader_gives(
    answers: dict[str, Any], packed: dict[int, tuple[Path, Sequences]], multiple: int
) -> None:
    folder, sequences = packed[multiple]
    rows = answers[f"packs {multiple}"]["value"]["rows"]
    found = held_sequences(rows, folder / "000000.parquet", PACK_SIZE, END)
    assert all(len(tokens) % multiple == 0 for tokens, _, _ in found)
    stored = (sequences.join(np.array([number])) for number in range(len(sequences)))
    assert sorted(found) == sorted((ids[:-1].tolist(), ids[1:].tolist(), mask[:-1].tolist()) for ids, mask in stored)


def test_padding_is_told_from_tokens(answers: dict[str, Any], packed: dict[int, tuple[Path, Sequences]]) -> None:
    multiple = max(PADDINGS)
    bare = packed[min(PADDINGS)][1]
    lengths = []
    for row in answers[f"packs {multiple}"]["value"]["rows"]:
        sizes = np.diff([end for end in row["cu_seqlens_unpadded"] if end >= 0])
        lengths += [int(size) for size in sizes if size]
    # The last token of a sequence without padding is a label only; with padding it is an input as well.
    inputs = [int(length) - 1 + int((length - 1) % multiple != 0) for length in bare.lengths]
    assert sorted(lengths) == sorted(inputs)


@pytest.mark.parametrize("multiple", PADDINGS)
def test_the_metadata_make_every_row_as_long_as_the_others(answers: dict[str, Any], multiple: int) -> None:
    padded = answers[f"packs {multiple} with metadata"]["value"]["rows"]
    bare = answers[f"packs {multiple}"]["value"]["rows"]
    assert len({len(row["cu_seqlens"]) for row in padded}) == 1
    assert len({row["max_seqlen"] for row in padded} if isinstance(padded[0]["max_seqlen"], int) else {0}) == 1
    for with_metadata, without in zip(padded, bare, strict=True):
        assert with_metadata["tokens"] == without["tokens"]
        ends = [end for end in without["cu_seqlens"] if end >= 0]
        assert with_metadata["cu_seqlens"][: len(ends)] == ends
        assert set(with_metadata["cu_seqlens"][len(ends) :]) <= {PACK_SIZE, -1}
