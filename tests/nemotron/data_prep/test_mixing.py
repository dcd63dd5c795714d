from __future__ import annotations

import pytest

from nemotron.data_prep.mixing import share_out


@pytest.mark.parametrize(
    ("counts", "weights", "shares"),
    [
        ([5, 9], [1, 1], [5, 9]),
        ([10, 10], [1, 3], [3, 10]),
        ([10, 1000], [1, 2], [10, 20]),
        ([100, 1], [1, 1.5], [1, 1]),
        ([1000, 29], [0.58, 0.29], [58, 29]),
        ([3, 5, 7], [0.1, 0.3, 0.7], [1, 3, 7]),
        ([4, 8], [1e308, 5e307], [4, 2]),
        ([4, 8], [1e-320, 1e308], [1, 8]),
    ],
)
def test_how_much_of_each_set_is_taken(counts: list[int], weights: list[float], shares: list[int]) -> None:
    assert share_out(counts, weights) == shares
