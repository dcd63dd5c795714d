from __future__ import annotations

import pytest

from nemotron.data_prep.shards import Address, FileRecord, Problem, Receipt

ADDRESS = Address("documents", ("a", "b"), {"limit": None, "holdout": {"valid": 0.1}})


def test_a_key_depends_on_the_input_and_the_options_alone() -> None:
    assert ADDRESS.key == Address("documents", ("a", "b"), {"holdout": {"valid": 0.1}, "limit": None}).key
    others = [
        Address("chats", ADDRESS.inputs, ADDRESS.options),
        Address("documents", ("b", "a"), ADDRESS.options),
        Address("documents", ADDRESS.inputs, {**ADDRESS.options, "limit": 3}),
    ]
    assert len({ADDRESS.key, *(other.key for other in others)}) == 4


def test_a_receipt_is_read_as_it_was_written() -> None:
    receipt = Receipt(
        ADDRESS.key, ADDRESS.to_dict(), {"train.bin": FileRecord(3, "0f")}, {"tokens": 7}, (Problem(0, 12, "bad"),)
    )
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_equal_receipts_are_equal_texts() -> None:
    files = {"a": FileRecord(1, "1"), "b": FileRecord(2, "2")}
    texts = {
        Receipt(ADDRESS.key, ADDRESS.to_dict(), dict(order), {"x": 1, "y": 2}).to_json()
        for order in (files.items(), reversed(files.items()))
    }
    assert len(texts) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": "k", "files": {"a": {}}}'])
def test_anything_else_is_no_receipt(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Receipt.from_json(text)
