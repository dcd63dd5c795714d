from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import rehearsal_overhead

if TYPE_CHECKING:
    from pathlib import Path


def test_a_rehearsal_of_each_cloud_can_be_measured(tmp_path: Path) -> None:
    found = rehearsal_overhead.measure(1, tmp_path)
    assert set(found) == {"lepton", "dgxcloud"}
    assert all(seconds > 0 for (seconds,) in found.values())


@pytest.mark.parametrize(("seconds", "code"), [([1.0, 9.0, 2.0], 0), ([9.0, 9.0, 2.0], 1)])
def test_the_median_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: list[float], code: int
) -> None:
    monkeypatch.setattr(rehearsal_overhead, "measure", lambda _runs, _folder: {"lepton": seconds})
    assert rehearsal_overhead.main(["--json"]) == code
    assert json.loads(capsys.readouterr().out)["met"] is (code == 0)
    assert rehearsal_overhead.main([]) == code
    assert capsys.readouterr().out.endswith("pass\n" if code == 0 else "FAIL\n")
