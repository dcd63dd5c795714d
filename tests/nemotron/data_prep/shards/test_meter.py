from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from nemotron.data_prep.shards import meter
from nemotron.data_prep.shards.meter import Amounts, Meters

if TYPE_CHECKING:
    import pytest


def test_each_worker_has_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    meters = Meters(multiprocessing.get_context("spawn"), 2)
    monkeypatch.setattr(meter, "_place", None)
    meter.add(1, 1)
    assert meters.total() == Amounts(0, 0)
    meters.take_place()
    meter.add(10, 1)
    meter.add(5, 1)
    meters.take_place()
    meter.add(100, 20)
    assert meters.total() == Amounts(115, 22)
    meter.reset()
    assert meters.total() == Amounts(15, 2)
