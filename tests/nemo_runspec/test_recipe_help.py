from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.recipe_help import print_panels
from nemo_runspec.recipe_meta import RecipeMeta
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "run: {env: {}, data: corpus:latest}\nartifact: {name: model}\n"


def _meta(script: Path, *folders: Path) -> RecipeMeta:
    return RecipeMeta(script, "Do it.", lambda: folders, ("nemotron do it",))


def _shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    script = write_recipe(tmp_path / "recipe", config=CONFIG)
    print_panels(_meta(script, script.parent / "config"))
    return capsys.readouterr().out


def test_the_panels_tell_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_env_file(tmp_path, '[my-cluster]\nexecutor = "local"\n')
    shown = _shown(tmp_path, capsys, monkeypatch)
    for text in ("default", "reads corpus:latest; publishes model", "my-cluster", "++key=value", "nemotron do it"):
        assert text in shown


def test_help_is_given_whatever_env_toml_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no env.toml here" in _shown(tmp_path, capsys, monkeypatch)
    write_env_file(tmp_path, "[broken\n")
    assert "cannot be read" in _shown(tmp_path, capsys, monkeypatch)


def test_one_wrong_profile_hides_no_other_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_env_file(tmp_path, '[bad]\nexecutor = "nope[b]"\n[good]\nexecutor = "local"\n')
    shown = _shown(tmp_path, capsys, monkeypatch)
    assert re.search(r"good +local", shown)
    # The brackets are part of the name, not of the text's style.
    assert re.search(r"bad +cannot be used: .*'nope\[b\]'", shown)
    write_env_file(tmp_path, "")
    assert "has no profiles" in _shown(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("config", ["- a", "hello", "run: 3\nartifact: [x]", "run: [", "", "a: " + "7" * 5000])
def test_help_is_given_whatever_a_configuration_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.chdir(tmp_path)
    script = write_recipe(tmp_path / "recipe", config=config)
    print_panels(_meta(script, script.parent / "config"))
    assert "default" in capsys.readouterr().out
