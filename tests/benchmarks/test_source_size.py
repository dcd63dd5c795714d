from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from benchmarks import source_size
from nemo_runspec.data_mover import select
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


def test_this_repositorys_source_stays_within_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert source_size.main(["--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["met"] is True
    assert printed["ratio"] == pytest.approx(printed["our_bytes"] / printed["gzip_bytes"])
    assert printed["files"] > 100


def test_both_carry_the_same_files(tmp_path: Path) -> None:
    root = pods.repository(tmp_path)
    selection = select(root / pods.SCRIPT)
    archive = gzip.decompress(base64.b64decode(source_size.gzipped(selection)))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = tar.getnames()
    assert sorted(found) == [file.name for file in selection.files]
    assert found != sorted(found)
    sizes = source_size.measure(root / pods.SCRIPT, root)
    assert sizes.files == len(found)
    assert sizes.raw_bytes == sum(file.path.stat().st_size for file in selection.files)


def test_the_page_says_whether_the_limit_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source_size, "LIMIT", 0.01)
    root = pods.repository(tmp_path)
    assert source_size.main(["--script", str(root / pods.SCRIPT)]) == 1
    assert "FAIL" in capsys.readouterr().out
