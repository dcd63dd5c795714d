from __future__ import annotations

import re

from nemo_runspec.rehearsal.workloads import Phase, random_letters


def test_phases_are_gone_or_finished_or_neither() -> None:
    assert {phase for phase in Phase if phase.is_gone} == {Phase.DELETED, Phase.ARCHIVED}
    assert {phase for phase in Phase if phase.is_finished} == {Phase.COMPLETED, Phase.FAILED}


def test_random_letters_can_stand_in_names() -> None:
    found = {random_letters(5) for _ in range(20)}
    assert len(found) > 1
    assert all(re.fullmatch(r"[a-z0-9]{5}", text) for text in found)
