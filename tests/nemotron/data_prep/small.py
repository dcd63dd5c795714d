"""A small tokenizer, for tests that only need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemotron.data_prep.tokenizer import TextTokenizer, train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["def add(a, b):\n    return a + b\n", "def sub(a, b):\n    return a - b\n", "class Adder:\n    pass\n"] * 5


def small_tokenizer(folder: Path) -> TextTokenizer:
    """Train a tokenizer of 280 tokens."""
    return train_tokenizer(TEXTS, 280, folder)
