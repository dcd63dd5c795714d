from __future__ import annotations

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.data_prep.holdout import check_fraction, is_held_out


def test_the_share_is_held_out_and_depends_on_key_and_seed() -> None:
    keys = [str(number) for number in range(2000)]
    one = [key for key in keys if is_held_out(key, 0.2, seed=1)]
    assert 0.15 < len(one) / len(keys) < 0.25
    assert one == [key for key in keys if is_held_out(key, 0.2, seed=1)]
    assert one != [key for key in keys if is_held_out(key, 0.2, seed=2)]
    assert not [key for key in keys if is_held_out(key, 0.0, seed=1)]


@pytest.mark.parametrize("value", [-0.1, 1, 2.5])
def test_a_share_outside_its_range(value: float) -> None:
    with pytest.raises(ConfigError, match=f"valid_fraction is {value}"):
        check_fraction("valid_fraction", value)
