from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemo_runspec.data_mover import Changes
from nemo_runspec.errors import PayloadError, ProfileError, UsageError
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


@pytest.mark.parametrize("profile", ["cluster", "engine"])
def test_what_is_copied_as_it_is_may_be_of_any_size(tmp_path: Path, profile: str) -> None:
    with (tmp_path / "env.toml").open("a", encoding="utf-8") as file:
        file.write('[cluster]\nexecutor = "slurm"\n[engine]\nexecutor = "docker"\nexclude = ["script/helper.py"]\n')
    script = str(_script(tmp_path))
    told = json.loads(_ls(script, "--run", profile, "--json"))
    assert told["fits"]
    assert told["raw_bytes"] == sum(told["files"].values())
    assert ("script/helper.py" in told["files"]) == (profile == "cluster")
    shown = _ls(script, "--run", profile)
    assert told["archive_sha256"] in shown
    assert f"{len(told['files'])} files" in shown


def test_a_profile_that_sends_no_sources_is_refused() -> None:
    with pytest.raises(UsageError, match="'here' uses the executor 'local', to which no sources are sent"):
        _ls("--run", "here")
    with pytest.raises(ProfileError, match="fra"):
        _ls("--run", "fra")


def _commit(folder: Path) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "mine"), ("commit", "-qm", "all")):
        subprocess.run(["git", *settings, "-C", folder, *words], check=True)  # noqa: S607 - git of PATH


def test_what_is_not_committed_is_named_also_of_a_script_outside_src(tmp_path: Path) -> None:
    script = _script(tmp_path)
    unknown = f"nobody knows whether it is committed: {script} and 1 more are in no git repository"
    assert unknown in _ls(str(script))
    _commit(tmp_path)
    out = _ls(str(script))
    assert "script/train.py" not in out.partition("not committed")[2]
    assert "nobody knows" not in out
    script.write_text("changed\n", encoding="utf-8")
    told = json.loads(_ls(str(script), "--json"))
    assert "script/train.py" in told["modified"]
    assert told["modified_unknown"] is None


def test_modified_files_are_named_without_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron.cli.source.modified_files", lambda chosen: Changes((chosen.files[0].name,), "why"))
    assert "not committed: src/nemo_runspec/__init__.py" in _ls()
    told = json.loads(_ls("--json"))
    assert told["modified"] == ["src/nemo_runspec/__init__.py"]
    assert told["modified_unknown"] == "why"


def test_links_that_stay_here_are_named(tmp_path: Path) -> None:
    script = _script(tmp_path)
    script.with_name("data.yaml").symlink_to(tmp_path / "env.toml")
    assert "links that stay here: script/data.yaml" in _ls(str(script))
    assert json.loads(_ls(str(script), "--json"))["left_out"] == ["script/data.yaml"]


@pytest.mark.parametrize("size", [1_250_000, 1_700_000, 17_000_000])
def test_what_is_too_large_is_listed_and_refused(tmp_path: Path, size: int) -> None:
    script = _script(tmp_path)
    assert "fits into one job on Lepton" in _ls(str(script))
    script.with_name("notes.txt").write_bytes(random.Random(0).randbytes(size))  # noqa: S311 - any bytes do
    for options in ((), ("--json",)):
        done = CliRunner().invoke(app, ["ls", str(script), *options])
        assert isinstance(done.exception, PayloadError)
        assert done.exception.exit_code == 2
        assert 'exclude = ["script/notes.txt"]' in str(done.exception)
        assert "script/notes.txt" in done.output
    assert json.loads(done.output)["fits"] is False
