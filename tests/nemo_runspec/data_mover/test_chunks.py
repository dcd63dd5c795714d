from __future__ import annotations

import base64
import random

import pytest

from nemo_runspec.data_mover import chunks
from nemo_runspec.data_mover.pod.variables import SAFE_CHARACTERS, SOURCE_PREFIX, UNSAFE_CHARACTERS


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1000])
def test_encoding_is_exact_and_short(size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - any bytes do
    text = chunks.encode(data)
    assert base64.b85decode(text.translate(str.maketrans(SAFE_CHARACTERS.decode(), UNSAFE_CHARACTERS.decode()))) == data
    assert len(text) <= size * 5 / 4 + 1
    assert text.isascii()
    assert not set("$&<>\"'\\ \n") & set(text)


def test_chunks_are_numbered_in_their_order() -> None:
    text = chunks.encode(bytes(range(256)) * 3)
    env = chunks.in_variables(text, SOURCE_PREFIX, 70)
    assert list(env) == [f"NEMO_RUNSPEC_SRC_{number}" for number in range(len(env))]
    assert len(env) > 10
    assert {len(value) for value in list(env.values())[:-1]} == {70}
    assert "".join(env.values()) == text
