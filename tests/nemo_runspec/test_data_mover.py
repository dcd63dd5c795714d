from __future__ import annotations

import subprocess
import sys

import pytest

import nemo_runspec.data_mover


def test_every_promised_name_is_there() -> None:
    assert [name for name in nemo_runspec.data_mover.__all__ if not hasattr(nemo_runspec.data_mover, name)] == []


def test_an_unknown_name_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SourcePackagr'"):
        nemo_runspec.data_mover.SourcePackagr  # noqa: B018 - the attribute itself is what is tested


def test_only_the_packager_needs_nemo_run() -> None:
    text = (
        "import sys, nemo_runspec.data_mover as mover; assert 'nemo_run' not in sys.modules; "
        "mover.SourcePackager; assert 'nemo_run' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", text], timeout=120, check=False).returncode == 0
