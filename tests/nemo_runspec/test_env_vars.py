from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.env import load_env_profile
from nemo_runspec.env_vars import (
    EnvVar,
    build_env_vars,
    is_secret_variable,
    job_redactor,
    process_environment,
)
from nemo_runspec.redaction import REDACTED
from nemo_runspec.spec import parse
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = """
[here]
executor = "local"
env_vars = { GREETING = "from the profile", http_proxy = "a 'b' $c", SERVICE_TOKEN = "literal-token" }
secrets = ["VAULT_CONTENT", "LICENSE"]
"""

ENVIRON = {"HF_TOKEN": "hf_0123456789", "LICENSE": "l-1", "VAULT_CONTENT": "hunter2hunter2", "HOME": "/home/me"}


def _variables(tmp_path: Path, origins: dict[str, str] | None = None) -> dict[str, EnvVar]:
    profile = load_env_profile("here", write_env_file(tmp_path, PROFILE))
    script = write_recipe(tmp_path / "recipe")
    text = script.read_text(encoding="utf-8").replace("# GREETING", '# SCRIPT_TOKEN = "in-the-script"\n# GREETING')
    script.write_text(text, encoding="utf-8")
    run = {"wandb": {"project": "p", "entity": None}}
    found = build_env_vars(parse(script), profile, run=run, workspace="/ws", environ=ENVIRON, origins=origins)
    return {variable.name: variable for variable in found}


def test_variables_come_from_their_sources_in_order(tmp_path: Path) -> None:
    found = _variables(tmp_path)
    assert found["NEMO_RUN_DIR"].value == "/ws"
    assert (found["GREETING"].value, found["GREETING"].origin) == ("from the profile", "profile here (env.toml:4)")
    assert found["SCRIPT_TOKEN"].origin == "hello.py [tool.runspec.env]"
    assert found["VAULT_CONTENT"].origin == "your environment, by profile here (env.toml:5)"
    assert found["HF_TOKEN"].origin == "your environment"
    assert found["WANDB_PROJECT"].value == "p"
    assert "WANDB_ENTITY" not in found
    assert "WANDB_API_KEY" not in found


@pytest.mark.parametrize(
    ("origins", "project", "greeting"),
    [
        ({}, "the configuration", "the configuration"),
        (
            {"run.wandb.project": "env.toml [wandb]", "run.env": "p", "run.env.secrets": "q"},
            "env.toml [wandb]",
            "p",
        ),
        ({"run.wandb": "command line", "run.env.env_vars.GREETING": "command line"}, "command line", "command line"),
    ],
)
def test_origins_are_the_configurations(tmp_path: Path, origins: dict[str, str], project: str, greeting: str) -> None:
    found = _variables(tmp_path, origins)
    assert (found["WANDB_PROJECT"].origin, found["GREETING"].origin) == (project, greeting)
    listed = (origins or {}).get("run.env.secrets", "the configuration")
    assert found["VAULT_CONTENT"].origin == f"your environment, by {listed}"
    assert found["HF_TOKEN"].origin == "your environment"


def test_names_keep_their_case_and_values_are_exact(tmp_path: Path) -> None:
    assert _variables(tmp_path)["http_proxy"].value == "a 'b' $c"


def test_secrets_are_known_by_name_and_by_profile_wherever_they_come_from(tmp_path: Path) -> None:
    found = _variables(tmp_path)
    secret = {name for name, variable in found.items() if variable.secret}
    assert secret == {"HF_TOKEN", "VAULT_CONTENT", "SERVICE_TOKEN", "SCRIPT_TOKEN", "LICENSE"}
    for name in secret:
        assert found[name].shown == REDACTED
        assert found[name].value not in repr(found[name])
    profile = load_env_profile("here", tmp_path / "env.toml")
    assert {name for name in found if is_secret_variable(name, profile)} == secret


def test_the_redactor_knows_values_wherever_they_stand(tmp_path: Path) -> None:
    profile = load_env_profile("here", write_env_file(tmp_path, PROFILE))
    redactor = job_redactor(profile, environ=ENVIRON)
    text = "x hf_0123456789 y hunter2hunter2 literal-token /home/me"
    assert redactor.text(text) == "x *** y *** *** /home/me"
    assert redactor.data(profile.as_config())["env_vars"]["SERVICE_TOKEN"] == REDACTED
    assert redactor.data(profile.as_config())["secrets"] == ["VAULT_CONTENT", "LICENSE"]


def test_the_redactor_learns_from_the_command_line_and_the_configuration(tmp_path: Path) -> None:
    profile = load_env_profile("here", write_env_file(tmp_path, PROFILE))
    override = parse_override("++hub.token=from-override")
    assert override is not None
    request = RecipeConfig(overrides=(override,), passthrough=("--password", "passed-through"))
    redactor = job_redactor(profile, request, config={"db": {"password": "configured"}}, environ={})
    assert redactor.text("from-override passed-through configured") == "*** *** ***"


def test_the_process_environment_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "before")
    monkeypatch.delenv("B_TOKEN", raising=False)
    before = dict(os.environ)
    names = ("A_TOKEN", "B_TOKEN")
    with process_environment([EnvVar(name, "during", "test", secret=True) for name in names]):
        assert [os.environ[name] for name in names] == ["during", "during"]
    assert dict(os.environ) == before
    with pytest.raises(KeyError), process_environment([EnvVar("B_TOKEN", "during", "test")]):
        raise KeyError
    assert dict(os.environ) == before
