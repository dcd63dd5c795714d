from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.data_prep.packing import Bins, pack
from tests.nemotron.data_prep.packing.bound import MIXES, lognormal_mix, lower_bound_l2


def lengths_of(*values: int) -> np.typing.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def check_packing(bins: Bins, lengths: np.typing.NDArray[np.int32], capacity: int) -> None:
    assert sorted(bins.order.tolist()) == list(range(len(lengths)))
    assert bins.offsets[0] == 0
    assert bins.offsets[-1] == len(lengths)
    assert (np.diff(bins.offsets) > 0).all()
    fills = [int(lengths[bins[number]].sum()) for number in range(len(bins))]
    assert bins.fills(lengths).tolist() == fills
    assert max(fills, default=0) <= capacity


@given(
    lengths=st.lists(st.integers(1, 64), max_size=200),
    room=st.integers(0, 40),
    seed=st.integers(0, 2**63),
)
def test_every_sequence_is_packed_once_and_no_bin_is_too_full(lengths: list[int], room: int, seed: int) -> None:
    values = np.array(lengths, dtype=np.int32)
    capacity = max([1, *lengths]) + room
    bins = pack(values, capacity, seed)
    check_packing(bins, values, capacity)
    assert len(bins) >= lower_bound_l2(values, capacity)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=120), capacity=st.integers(30, 60))
def test_it_is_best_fit_decreasing(lengths: list[int], capacity: int) -> None:
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [left for left in room if left >= length]
        if fitting:
            room.remove(min(fitting))
        room.append((min(fitting) if fitting else capacity) - length)
    values = np.array(lengths, dtype=np.int32)
    bins = pack(values, capacity, 0)
    assert sorted(capacity - bins.fills(values)) == sorted(room)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("capacity", [4096, 32_768])
def test_next_to_no_bin_is_wasted(mix: str, capacity: int) -> None:
    lengths = lognormal_mix(mix, 200_000, capacity)
    bins = pack(lengths, capacity, 1)
    check_packing(bins, lengths, capacity)
    assert len(bins) <= lower_bound_l2(lengths, capacity) * 1.0005


def test_a_million_sequences_take_no_time() -> None:
    lengths = lognormal_mix("reason", 1_000_000, 4096)
    started = time.process_time()
    bins = pack(lengths, 4096, 1)
    # A third of this on a machine at rest; the processor's time, because tests share the machine.
    assert time.process_time() - started < 0.5
    assert len(bins) <= lower_bound_l2(lengths, 4096) * 1.0005


@pytest.mark.parametrize(
    ("lengths", "capacity", "bins"),
    [
        ((), 10, 0),
        ((1,), 1, 1),
        ((7,), 10, 1),
        ((10,), 10, 1),
        ((10, 10, 10), 10, 3),
        ((1, 1, 1), 1, 3),
        ((3,) * 10, 9, 4),
        ((6, 4, 5, 5, 9, 1), 10, 3),
        ((2**20, 1), 2**20, 2),
    ],
)
def test_small_packings(lengths: tuple[int, ...], capacity: int, bins: int) -> None:
    found = pack(lengths_of(*lengths), capacity, 3)
    assert len(found) == bins
    check_packing(found, lengths_of(*lengths), capacity)


@pytest.mark.parametrize("lengths", [(3, 11), (0, 5)])
def test_a_sequence_that_cannot_be_packed(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not all fit into 1 to 10"):
        pack(lengths_of(*lengths), 10, 1)


def test_the_order_is_the_seed_s_and_the_same_everywhere() -> None:
    lengths = lengths_of(*[60, 50, 40, 30, 20, 10] * 2)
    first = pack(lengths, 100, 1)
    assert [first[number].tolist() for number in range(len(first))] == [[2, 0], [11, 5], [1, 7], [9, 10, 4, 3], [6, 8]]
    again, other = pack(lengths, 100, 1), pack(lengths, 100, 2)
    assert first.order.tolist() == again.order.tolist()
    assert first.order.tolist() != other.order.tolist()
    assert len(first) == len(other)


def test_chance_decides_every_place() -> None:
    """Bins, the sequences in a bin, and which of equally long sequences is where: each is uniform enough."""
    lengths = lengths_of(*[50] * 100, *[30] * 100, *[20] * 100)
    bins = pack(lengths, 100, 5)
    firsts = np.concatenate([bins[number][:1] for number in range(len(bins))])
    assert len({int(length) for length in lengths[firsts]}) == 3
    halves = [np.mean(bins.part(0, len(bins) // 2).order < 150), np.mean(bins.order[lengths[bins.order] == 50][:50])]
    assert 0.3 < halves[0] < 0.7
    assert 35 < halves[1] < 65


def test_a_part_of_the_bins() -> None:
    lengths = lengths_of(*range(1, 50))
    bins = pack(lengths, 60, 1)
    part = bins.part(3, 7)
    assert len(part) == 4
    assert [part[number].tolist() for number in range(4)] == [bins[number].tolist() for number in range(3, 7)]
    assert part.fills(lengths).tolist() == bins.fills(lengths)[3:7].tolist()
    assert len(bins.part(len(bins) - 2, len(bins) + 30)) == 2


def test_the_bound_is_that_of_martello_and_toth() -> None:
    # Three of more than half do not go together, though their tokens would fill only two bins.
    assert lower_bound_l2(lengths_of(6, 6, 6), 10) == 3
    assert lower_bound_l2(lengths_of(5, 5, 5), 10) == 2
    # The sixes leave 4 each, and no five fits there.
    assert lower_bound_l2(lengths_of(6, 6, 5, 5), 10) == 3
