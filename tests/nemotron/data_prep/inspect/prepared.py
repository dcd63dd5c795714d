"""Prepared data of each kind, small enough to know by heart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from nemotron.data_prep.binidx import PairWriter, token_dtype
from nemotron.data_prep.packing import EncodedShard, Sequences, pack, write_rows
from tests.nemotron.data_prep.small import encode_markup, encode_text, small_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nemotron.data_prep.tokenizer import TextTokenizer


def write_pair(prefix: Path, sequences: Sequence[Sequence[int]]) -> Path:
    """Write a token pair."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    writer = PairWriter(prefix, token_dtype(280))
    for ids in sequences:
        writer.append(np.array(ids, dtype=np.int32), np.array([len(ids)], dtype=np.int32))
    writer.close()
    return prefix


def pretrain_data(data: Path) -> TextTokenizer:
    """Write two training pairs, one for validation, their blend and their tokenizer."""
    tokenizer = small_tokenizer(data / "tokenizer")
    for name, texts in (
        ("train/code", ["def add(a, b):\n", "x" * 500]),
        ("train/web", ["<|endoftext|> \x1b[31m漢"]),
        ("valid/code", ["pass"]),
    ):
        ids = [[*encode_text(tokenizer, text), tokenizer.end_of_text] for text in texts]
        write_pair(data / name, ids)
    blend = {
        "train": ["0.75", str(data / "train/code"), "0.25", str(data / "train/web")],
        "valid": ["1.0", str(data / "valid/code")],
        "test": None,
    }
    (data / "blend.json").write_text(json.dumps(blend), encoding="utf-8")
    return tokenizer


def conversation(tokenizer: TextTokenizer, question: str, answer: str) -> tuple[list[int], list[int]]:
    """Encode one turn each; give the ids, and for each whether it is trained on."""
    asked = encode_markup(tokenizer, f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    said = encode_markup(tokenizer, f"{answer}<|im_end|>\n")
    return asked + said, [0] * len(asked) + [1] * len(said)


def packed_data(data: Path, conversations: int = 40) -> TextTokenizer:
    """Write packed rows for training (two files) and validation, padded to multiples of 8, and their tokenizer."""
    tokenizer = small_tokenizer(data / "tokenizer")
    encoded = [conversation(tokenizer, f"Add {n}", f"a + {n}" + " # more" * (n % 7)) for n in range(conversations)]
    shard = EncodedShard(
        np.concatenate([ids for ids, _ in encoded]).astype(np.int32),
        np.concatenate([[*trained[1:], 0] for _, trained in encoded]).astype(np.uint8),
        np.cumsum([0, *(len(ids) for ids, _ in encoded)]),
    )
    sequences = Sequences([shard], multiple=8, pad_id=tokenizer.end_of_text)
    bins = pack(sequences.lengths, 256, 1)
    third = len(bins) // 3
    for name, start in (("train/000000", 0), ("train/000001", third), ("valid/000000", 2 * third)):
        write_rows(data / f"splits/{name}.parquet", sequences, bins.part(start, start + third))
    return tokenizer


def rl_data(data: Path) -> None:
    """Write records for training and validation, and their manifest."""
    for split, count in (("train", 12), ("val", 3)):
        records = [{"prompt": f"Say {n}", "n": n, **({"note": None} if n % 2 else {})} for n in range(count)]
        (data / split).mkdir(parents=True)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (data / split / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    manifest = {
        "train": str(data / "train/train.jsonl"),
        "val": str(data / "val/val.jsonl"),
        "test": "",
        "mode": "local_split",
        "train_rows": 12,
    }
    (data / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
