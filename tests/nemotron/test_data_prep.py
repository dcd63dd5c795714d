from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.data_prep import run_preparation

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage


def test_the_kind_names_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setitem(sys.modules, "nemotron.data_prep.sft", SimpleNamespace(prepare=calls.append))
    stage = cast("Stage", SimpleNamespace(arguments=[]))
    run_preparation(stage, "sft")
    assert calls == [stage]


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nemotron.data_prep.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match="data preparation needs the package 'numpy'"):
        run_preparation(cast("Stage", SimpleNamespace(arguments=[])), "pretrain")
