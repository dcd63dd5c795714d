from __future__ import annotations

import math

import pytest

from nemo_runspec.errors import ArtifactError
from nemo_runspec.stage import StageResult


def test_what_a_manifest_holds() -> None:
    result = StageResult("loss", 8.0, 4.0, 3000, 1.5, [(1, 8.0), (2, 4.0)], {"steps": 2})
    assert result.to_dict() == {
        "metric": "loss",
        "first": 8.0,
        "last": 4.0,
        "tokens": 3000,
        "seconds": 1.5,
        "tokens_per_s": 2000.0,
        "curve": [[1, 8.0], [2, 4.0]],
        "details": {"steps": 2},
    }


@pytest.mark.parametrize("result", [StageResult(seconds=3.0), StageResult(tokens=3), StageResult()])
def test_no_speed_without_tokens_and_time(result: StageResult) -> None:
    assert result.to_dict()["tokens_per_s"] is None


def test_a_diverged_run_can_still_be_stored() -> None:
    stored = StageResult("loss", 8.0, math.nan, curve=[(1, 8.0), (2, math.nan), (3, math.inf)]).to_dict()
    assert stored["last"] is None
    assert stored["curve"] == [[1, 8.0]]


def test_details_need_a_json_form() -> None:
    with pytest.raises(ArtifactError, match=r"result\.details\.x is a object"):
        StageResult(details={"x": object()}).to_dict()
