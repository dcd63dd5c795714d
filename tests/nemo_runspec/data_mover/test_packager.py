from __future__ import annotations

from typing import TYPE_CHECKING

import fiddle as fdl
import nemo_run as run

import nemo_runspec.data_mover
from nemo_runspec.data_mover import SourcePackager

if TYPE_CHECKING:
    from pathlib import Path


def test_it_survives_nemo_runs_configuration() -> None:
    packager = SourcePackager(
        script_path="train.py",
        repo_root="/repo",
        exclude=["*.yaml"],
        files={"data/x.json": "/tmp/x.json"},  # noqa: S108 - never opened
    )
    config = packager.to_config()
    assert isinstance(config, run.Config)
    assert fdl.build(config) == packager
    assert fdl.build(fdl.deepcopy_with(config, script_path="other.py")).exclude == ["*.yaml"]


def test_two_of_them_share_nothing() -> None:
    first, second = SourcePackager(), SourcePackager()
    first.exclude.append("x")
    first.files["a"] = "b"
    assert (second.exclude, second.files, second.script_path) == ([], {}, None)


def test_packaging_puts_nothing_anywhere(tmp_path: Path) -> None:
    assert SourcePackager(script_path="missing.py").package(tmp_path, str(tmp_path), "job") == ""
    assert list(tmp_path.iterdir()) == []


def test_it_is_given_out_by_the_package() -> None:
    assert nemo_runspec.data_mover.SourcePackager is SourcePackager
    assert not hasattr(nemo_runspec.data_mover, "Sourcepackager")
