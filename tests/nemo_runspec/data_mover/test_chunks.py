from __future__ import annotations

import random

import pytest

from nemo_runspec.data_mover import chunks
from nemo_runspec.data_mover.pod.variables import SOURCE_PREFIX


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1000])
def test_encoding_is_exact_and_short(size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - any bytes do
    text = chunks.encode(data)
    assert chunks.decode(text) == data
    assert len(text) <= size * 5 / 4 + 1
    assert text.isascii()
    assert not set("$&<>\"'\\ \n") & set(text)


@pytest.mark.parametrize("text", ["a b", "~~~~~", "ü"])
def test_what_encode_does_not_give_cannot_be_decoded(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - base64's, ours or that of ASCII: their words are theirs
        chunks.decode(text)


def test_pieces_are_numbered_and_joined_in_their_order() -> None:
    data = bytes(range(256)) * 3
    env = chunks.in_variables(chunks.encode(data), SOURCE_PREFIX, 70)
    assert list(env) == [f"NEMO_RUNSPEC_SRC_{number}" for number in range(len(env))]
    assert len(env) > 10
    assert {len(value) for value in list(env.values())[:-1]} == {70}
    shuffled = dict(sorted(env.items())) | {"NEMO_RUNSPEC_JOB_0": "other", "NEMO_RUNSPEC_SRC_X": "other"}
    assert chunks.payload(shuffled, SOURCE_PREFIX) == data
