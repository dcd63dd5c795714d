from __future__ import annotations

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.training.sizes import LAYERS, SIZES, model_size


@pytest.mark.parametrize("name", SIZES)
def test_every_size_has_all_three_kinds_of_layers(name: str) -> None:
    assert set(model_size(name).layers) == set(LAYERS)


def test_an_unknown_size() -> None:
    with pytest.raises(ConfigError, match=r"there is no model size 'tny'\n.*'tiny'"):
        model_size("tny")
