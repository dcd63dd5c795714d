from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import cloud_submit
from benchmarks.cloud_submit import Comparison, Submission

if TYPE_CHECKING:
    from pathlib import Path

STOCK = Submission("dgxcloud", "nemo-run", data_bytes=100_000, workloads=21, api_calls=130, seconds=220.0)
OURS = Submission("dgxcloud", "ours", data_bytes=100_000, workloads=1, api_calls=6, seconds=0.5)
FAILED = replace(STOCK, seconds=None, failure="exec sh: argument list too long")


def test_a_comparison_says_whether_the_promise_is_kept() -> None:
    assert Comparison(STOCK, OURS, 10.0).line().strip() == "440.0 times faster, 10 promised: pass"
    assert Comparison(replace(STOCK, seconds=4.0), OURS, 10.0).line().strip() == "8.0 times faster, 10 promised: FAIL"
    assert Comparison(FAILED, OURS, 3.0).line().strip() == "nemo-run's own cannot, 3 promised: pass"


def test_ours_has_to_arrive_and_with_one_workload() -> None:
    assert not Comparison(STOCK, replace(OURS, workloads=2), 10.0).met
    assert not Comparison(STOCK, replace(OURS, seconds=None), 10.0).met
    assert not Comparison(FAILED, replace(OURS, seconds=None), 10.0).met


def test_without_any_time_to_compare_with_nothing_is_shown() -> None:
    assert Comparison(FAILED, OURS, 3.0).met
    less = replace(FAILED, data_bytes=cloud_submit.CARRIED_BYTES)
    assert Comparison(less, replace(OURS, data_bytes=less.data_bytes), 3.0).line().endswith("FAIL")


def test_a_row_tells_why_a_submission_never_arrived() -> None:
    assert STOCK.line().split() == ["dgxcloud", "nemo-run", "100000", "21", "130", "220.00"]
    assert FAILED.line().split(maxsplit=6)[5:] == ["never", "exec sh: argument list too long"]


def test_files_are_the_same_each_time_and_do_not_compress(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cloud_submit.fill(tmp_path / name, 1000)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second
    assert (len(first), len(first["data.bin"])) == (6, 1000)


def test_less_is_compared_where_nemo_run_cannot_carry_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(platform: str, side: str, data_bytes: int) -> Submission:
        asked.append((side, data_bytes))
        failed = side == "nemo-run" and data_bytes == cloud_submit.DATA_BYTES
        return Submission(platform, side, data_bytes, 1, 4, None if failed else 1.0)

    monkeypatch.setattr(cloud_submit, "measure", measure)
    assert [comparison.ratio for comparison in cloud_submit.compare("lepton")] == [None, 1.0]
    assert asked == [(side, count) for count in (100_000, 40_000) for side in ("nemo-run", "ours")]


def test_json_holds_every_comparison(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cloud_submit, "measure", lambda _platform, side, _bytes: STOCK if side == "nemo-run" else OURS)
    assert cloud_submit.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["comparisons"]
    assert [(row["ratio"], row["met"], row["ours"]["workloads"]) for row in rows] == [(440.0, True, 1)] * 2
    assert cloud_submit.main(["--platform", "lepton"]) == 0
    assert "440.0 times faster, 3 promised: pass" in capsys.readouterr().out


def test_a_measurement_is_one_of_a_real_submission() -> None:
    found = cloud_submit.measure("lepton", "ours", cloud_submit.DATA_BYTES)
    assert found.seconds is not None
    assert (found.workloads, found.failure) == (1, "")
    assert found.api_calls > found.workloads


@pytest.mark.slow
def test_nemo_run_s_own_lepton_executor_cannot_carry_the_data() -> None:
    found = cloud_submit.measure("lepton", "nemo-run", cloud_submit.DATA_BYTES)
    assert (found.seconds, found.failure) == (None, "exec sh: argument list too long")


def test_a_measurement_that_breaks_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="could not be measured"):
        cloud_submit.measure("no-such-platform", "ours", 1)
