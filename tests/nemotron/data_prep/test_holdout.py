from __future__ import annotations

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.data_prep.holdout import Holdout, check_fraction

TEXTS = [f"text {number}" for number in range(4000)]


def held_out(holdout: Holdout, split: str) -> set[str]:
    return {text for text in TEXTS if holdout.split_of(text) == split}


def test_the_shares_are_what_they_say() -> None:
    found = [Holdout(0.2, 0.1, seed=1).split_of(text) for text in TEXTS]
    shares = {split: found.count(split) / len(TEXTS) for split in ("train", "valid", "test")}
    assert shares == pytest.approx({"train": 0.7, "valid": 0.2, "test": 0.1}, abs=0.03)


def test_it_depends_on_text_and_seed_alone() -> None:
    one = held_out(Holdout(0.2, 0.1, seed=1), "valid")
    assert one == held_out(Holdout(0.2, 0.1, seed=1), "valid")
    assert one != held_out(Holdout(0.2, 0.1, seed=2), "valid")


def test_a_larger_share_keeps_what_was_held_out() -> None:
    small, large = Holdout(0.1, 0.1), Holdout(0.3, 0.1)
    assert held_out(small, "valid") < held_out(large, "valid")


def test_nothing_is_held_out_unless_it_is_asked_for() -> None:
    assert held_out(Holdout(0.0), "train") == set(TEXTS)


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70 + 3])
def test_any_seed_is_one(seed: int) -> None:
    assert held_out(Holdout(0.5, seed=seed), "valid")


def test_text_that_is_no_unicode_has_a_split() -> None:
    assert Holdout(0.5).split_of("\ud800") in {"train", "valid"}


def test_the_facts_are_those_that_the_decision_depends_on() -> None:
    assert Holdout(0.2, 0.1, 3).facts() == {"valid": 0.2, "test": 0.1, "seed": 3}


@pytest.mark.parametrize("value", [-0.1, 1, 2.5])
def test_a_share_outside_its_range(value: float) -> None:
    with pytest.raises(ConfigError, match=f"valid_fraction is {value}"):
        check_fraction("valid_fraction", value)
