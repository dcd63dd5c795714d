from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from nemo_runspec.errors import ProfileError
from nemotron.cli.env import app
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

ENV = """
[base]
executor = "local"
env_vars = { A_TOKEN = "canary-0123456789", B = "2" }

[here]
extends = "base"
nproc_per_node = 2

[broken]
executor = "local"
nodez = 2
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_list_tells_of_every_profile_even_a_broken_one(tmp_path: Path) -> None:
    assert "no env.toml here" in _run("list")
    write_env_file(tmp_path, ENV)
    lines = [line.split(maxsplit=1) for line in _run("list").splitlines()[1:]]
    assert lines[:2] == [["base", "local"], ["here", "local"]]
    assert lines[2][1].startswith("cannot be used")
    assert list(json.loads(_run("list", "--json"))["profiles"]) == ["base", "here", "broken"]


def test_show_tells_the_origin_of_each_value_and_no_secret(tmp_path: Path) -> None:
    write_env_file(tmp_path, ENV)
    shown = _run("show", "here")
    assert "nproc_per_node = 2   # here (env.toml:8)" in shown
    assert "# base (env.toml:4)" in shown
    values = json.loads(_run("show", "here", "--json"))["values"]
    assert values == {"executor": "local", "nproc_per_node": 2, "env_vars": {"A_TOKEN": "***", "B": "2"}}
    assert "canary" not in shown


def test_check_tells_all_problems_or_none(tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(app, ["check"]).exception, ProfileError)
    path = write_env_file(tmp_path, ENV)
    assert "nodez" in str(CliRunner().invoke(app, ["check"]).exception)
    path.write_text(ENV.replace("nodez", "nodes"), encoding="utf-8")
    assert _run("check") == f"{path}: 3 profiles, no problems\n"


@pytest.mark.parametrize(
    "secrets", ['["sk-0123canary"]', '["hf_0123canary"]', '{ "sk-0123canary" = "x" }', '{ A = "hf_0123canary" }']
)
def test_a_secret_pasted_for_its_name_is_refused_and_not_shown(tmp_path: Path, secrets: str) -> None:
    write_env_file(tmp_path, f'[here]\nexecutor = "local"\nsecrets = {secrets}\n')
    for command in (["show", "here"], ["check"], ["list"]):
        result = CliRunner().invoke(app, command)
        shown = result.output + str(result.exception)
        assert "name" in shown
        assert "canary" not in shown


def test_the_names_of_a_platforms_secrets_are_shown(tmp_path: Path) -> None:
    table = 'secrets = { HF_TOKEN = "hf-token" }\nenv_vars = { LICENSE = "canary-0123" }\n'
    write_env_file(tmp_path, f'[here]\nexecutor = "local"\n{table}')
    shown = _run("show", "here")
    assert "'HF_TOKEN': 'hf-token'" in shown
    assert "canary-0123" in shown
    table = 'secrets = ["LICENSE"]\nenv_vars = { LICENSE_KEY = "canary-0123" }\n'
    write_env_file(tmp_path, f'[here]\nexecutor = "local"\n{table}')
    assert "canary" not in _run("show", "here")
