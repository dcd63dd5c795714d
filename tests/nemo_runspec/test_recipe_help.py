from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.recipe_help import print_panels
from nemo_runspec.recipe_meta import RecipeMeta
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
