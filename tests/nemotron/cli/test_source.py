from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemo_runspec.errors import ProfileError, UsageError
from nemotron.cli.source import app
from tests.nemotron.cli.clouds import write_profiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(tmp_path)


def _ls(*arguments: str) -> str:
    return CliRunner().invoke(app, ["ls", *arguments], catch_exceptions=False).output


def _script(folder: Path) -> Path:
    place = folder / "mine"
    place.mkdir()
    (place / "helper.py").write_text("x = 1\n" * 100, encoding="utf-8")
    script = place / "train.py"
    script.write_text("import helper\n", encoding="utf-8")
    return script


def test_the_files_of_a_script_are_listed_with_their_sizes(tmp_path: Path) -> None:
    out = _ls(str(_script(tmp_path)))
    assert "       600  script/helper.py" in out
    assert "        14  script/train.py" in out
    assert "src/nemo_runspec/stage/running.py" in out
    assert "compressed" in out
    assert "as sent" in out


def test_one_object_for_programs(tmp_path: Path) -> None:
    told = json.loads(_ls(str(_script(tmp_path)), "--run", "runai", "--json"))
    assert told["executor"] == "dgxcloud"
    assert told["files"]["script/helper.py"] == 600
    assert told["raw_bytes"] == sum(told["files"].values())
    assert told["raw_bytes"] > told["encoded_bytes"] > told["archive_bytes"]
    assert len(told["archive_sha256"]) == 64


def test_a_profile_may_leave_files_out(tmp_path: Path) -> None:
    (tmp_path / "env.toml").write_text(
        (tmp_path / "env.toml").read_text(encoding="utf-8").replace("[far]", '[far]\nexclude = ["script/helper.py"]'),
        encoding="utf-8",
    )
    script = str(_script(tmp_path))
    assert "script/helper.py" not in _ls(script, "--run", "far")
    assert "script/helper.py" in _ls(script, "--run", "runai")


def test_a_profile_that_sends_no_sources_is_refused() -> None:
    with pytest.raises(UsageError, match="'here' uses the executor 'local', to which no sources are sent"):
        _ls("--run", "here")
    with pytest.raises(ProfileError, match="fra"):
        _ls("--run", "fra")
