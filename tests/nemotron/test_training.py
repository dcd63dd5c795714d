"""The table of engines."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.training import ENGINES, run_engine
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stage_s_work_is_done_by_the_engine_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    engine = ModuleType("toy_engine")
    engine.sft = done.append  # type: ignore[attr-defined]  # what a module is made of
    monkeypatch.setitem(sys.modules, "toy_engine", engine)
    monkeypatch.setitem(ENGINES, "toy", "toy_engine")
    asked = stage(tmp_path, engine="toy")
    run_engine(asked, "sft")
    assert done == [asked]
    with pytest.raises(ConfigError, match="the engine 'toy' does not do 'rl'"):
        run_engine(asked, "rl")


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no engine 'megatorn'\n.*'megatron'"):
        run_engine(stage(tmp_path, engine="megatorn"), "sft")


def test_an_engine_whose_library_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lonely_engine.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(ENGINES, "lonely", "lonely_engine")
    with pytest.raises(ConfigError, match="needs the package 'a_library_that_nobody_has', which is not installed"):
        run_engine(stage(tmp_path, engine="lonely"), "sft")
