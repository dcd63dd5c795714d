from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_runspec.errors import DataError
from nemotron.data_prep.megatron_blend import BlendPart, Prefix, compose, write_blend
from tests.nemotron.data_prep.small import write_pair

if TYPE_CHECKING:
    from pathlib import Path


def prefix(path: Path, tokens: int) -> Prefix:
    write_pair(path, [np.zeros(tokens)], np.dtype("<u2"))
    return Prefix(path, tokens)


def test_a_split_is_a_flat_list_and_null_where_there_is_none(tmp_path: Path) -> None:
    one, two, held_out = (prefix(tmp_path / name, tokens) for name, tokens in (("a", 30), ("b", 10), ("c", 5)))
    parts = [
        BlendPart(2.0, {"train": [one, two], "valid": [held_out], "test": []}),
        BlendPart(0.5, {"train": [held_out]}),
    ]
    assert compose(parts) == {
        "train": ["1.5", str(one.path), "0.5", str(two.path), "0.5", str(held_out.path)],
        "valid": ["2.0", str(held_out.path)],
        "test": None,
    }


@given(st.lists(st.tuples(st.floats(1e-300, 1e300), st.lists(st.integers(1, 2**45), min_size=1)), min_size=1))
def test_weights_are_proportional_to_tokens(
    tmp_path_factory: pytest.TempPathFactory, sets: list[tuple[float, list[int]]]
) -> None:
    path = prefix(tmp_path_factory.mktemp("blend") / "a", 1).path
    parts = [BlendPart(weight, {"train": [Prefix(path, tokens) for tokens in shards]}) for weight, shards in sets]
    words = compose(parts)["train"]
    assert words is not None
    weights = [float(word) for word in words[::2]]
    start = 0
    for weight, shards in sets:
        own = weights[start : start + len(shards)]
        start += len(shards)
        assert all(value > 0 for value in own)
        assert sum(own) == pytest.approx(weight)
        assert [value / own[0] for value in own] == pytest.approx([tokens / shards[0] for tokens in shards])
    assert start == len(weights)


@pytest.mark.parametrize("extension", ["bin", "idx"])
def test_a_file_that_is_gone_is_named(tmp_path: Path, extension: str) -> None:
    one = prefix(tmp_path / "a", 3)
    (tmp_path / f"a.{extension}").unlink()
    with pytest.raises(DataError, match=rf"a\.{extension}: a token file that was just made is gone"):
        compose([BlendPart(1.0, {"train": [one]})])


def test_it_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "blend.json"
    # What a run that was killed has left is no hindrance.
    (tmp_path / ".blend.json.new").write_text("{")
    content = {"train": ["1.0", "/data/a"], "valid": None, "test": None}
    write_blend(path, content)
    assert json.loads(path.read_text()) == content
    inode = path.stat().st_ino
    write_blend(path, content)
    assert path.stat().st_ino != inode, "whoever reads the old one reads it to its end"
    assert [one.name for one in tmp_path.iterdir()] == ["blend.json"]
