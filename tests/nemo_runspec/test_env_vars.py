from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import load_env_profile
from nemo_runspec.env_vars import REDACTED, EnvVar, Redactor, build_env_vars, is_secret_name
from nemo_runspec.spec import parse
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = """
[here]
executor = "local"
env_vars = { GREETING = "from the profile", http_proxy = "a 'b' $c", SERVICE_TOKEN = "literal-token" }
secrets = ["VAULT_PASSWORD_FILE_CONTENT"]
"""

ENVIRON = {"HF_TOKEN": "hf_0123456789", "VAULT_PASSWORD_FILE_CONTENT": "hunter2hunter2", "HOME": "/home/me"}


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "client_secret", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY"])
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "tokens", "tokenizer", "KEY", "HOME", "seq_length"])
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


def _variables(tmp_path: Path) -> dict[str, EnvVar]:
    profile = load_env_profile("here", write_env_file(tmp_path, PROFILE))
    spec = parse(write_recipe(tmp_path / "recipe"))
    run = {"wandb": {"project": "p", "entity": None}}
    found = build_env_vars(spec, profile, run=run, workspace="/ws", environ=ENVIRON)
    return {variable.name: variable for variable in found}


def test_variables_come_from_their_sources_in_order(tmp_path: Path) -> None:
    found = _variables(tmp_path)
    assert found["NEMO_RUN_DIR"].value == "/ws"
    assert (found["GREETING"].value, found["GREETING"].origin) == ("from the profile", "profile here")
    assert found["WANDB_PROJECT"].value == "p"
    assert "WANDB_ENTITY" not in found
    assert "WANDB_API_KEY" not in found


def test_names_keep_their_case_and_values_are_exact(tmp_path: Path) -> None:
    assert _variables(tmp_path)["http_proxy"].value == "a 'b' $c"


def test_secrets_are_known_by_name_and_by_profile(tmp_path: Path) -> None:
    found = _variables(tmp_path)
    secret = {name for name, variable in found.items() if variable.secret}
    assert secret == {"HF_TOKEN", "VAULT_PASSWORD_FILE_CONTENT", "SERVICE_TOKEN"}
    for name in secret:
        assert found[name].shown == REDACTED
        assert found[name].value not in repr(found[name])


def test_the_redactor_knows_values_wherever_they_stand(tmp_path: Path) -> None:
    profile = load_env_profile("here", write_env_file(tmp_path, PROFILE))
    redactor = Redactor.for_job(profile, ENVIRON)
    text = "x hf_0123456789 y hunter2hunter2 literal-token /home/me"
    assert redactor.text(text) == "x *** y *** *** /home/me"
    data = {"a": ["curl -H hf_0123456789"], "client_secret": "whatever", "n": 3, "client_secret_none": None}
    assert redactor.data(data) == {"a": ["curl -H ***"], "client_secret": "***", "n": 3, "client_secret_none": None}


def test_a_short_value_is_not_searched_for() -> None:
    assert Redactor(["abc", ""]).text("abc") == "abc"
