from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ConfigError, UsageError
from nemotron.data_prep import run_preparation
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.stage import Stage


def given(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Stage:
    """Give what the preparation gets of a stage with these arguments."""
    calls: list[Stage] = []
    monkeypatch.setitem(sys.modules, "nemotron.data_prep.sft", SimpleNamespace(prepare=calls.append))
    run_preparation(replace(stage(folder, seed=1), arguments=list(arguments)), "sft")
    (call,) = calls
    return call


def test_the_kind_names_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(tmp_path, monkeypatch) == stage(tmp_path, seed=1)


@pytest.mark.parametrize("arguments", [("--sample", "12"), ("--sample=12",)])
def test_a_sample_is_an_entry_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    expected = stage(tmp_path, seed=1, sample=12)
    # Under a name of its own, or training would take it for the whole.
    assert given(tmp_path, monkeypatch, *arguments) == replace(
        expected, config={**expected.config, "artifact": {"name": "made-sample"}}
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sample",), "--sample is ''"),
        (("--sample=",), "--sample is ''"),
        (("--sample", "0"), "--sample is '0'"),
        (("--sample", "many"), "--sample is 'many'"),
        (("--sample", "-3"), "--sample is '-3'"),
        (("--sample", "3", "more"), "nothing reads the argument 'more'"),
        (("--sample=3", "--sample=4"), "nothing reads the argument '--sample=4'"),
        (("--samples=3",), "nothing reads the argument '--samples=3'"),
    ],
)
def test_what_is_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        given(tmp_path, monkeypatch, *arguments)


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nemotron.data_prep.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match="data preparation needs the package 'numpy'"):
        run_preparation(stage(tmp_path), "pretrain")
