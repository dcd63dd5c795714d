from __future__ import annotations

import pytest

from nemo_runspec.redaction import Redactor, is_secret_name, redact_argv, redact_named, secret_arguments

SECRETS = (
    "HF_TOKEN WANDB_API_KEY client_secret DB_PASSWORD AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID token access_token "
    "authToken x-api-key GITHUB_PAT PGPASS HFTOKEN HFToken TOKEN2 HF_TOKEN_READ SSH_KEY OPENAI_KEY BASIC_AUTH "
    "MYSQL_PWD private_key apikey api_keys SECRET_KEY_BASE passphrase password2 _authToken Authorization github_pat"
)
OTHERS = (
    "eos_token pad_token bos_token eostoken eos_token_id pad_token_id token_type_ids tokens max_tokens tokens_per_s "
    "tokenizer TOKENIZERS_PARALLELISM additional_special_tokens moe_token_dispatcher_type loss_per_token "
    "HF_HUB_DISABLE_IMPLICIT_TOKEN HF_TOKEN_PATH AWS_SHARED_CREDENTIALS_FILE api_key_env_var secrets "
    "image_pull_secrets forward_pass bypass SSH_ASKPASS SSH_AUTH_SOCK PWD OLDPWD PATH HOME KEY prompt_key file_pat "
    "SSH_PUBLIC_KEY author monkey seq_length"
)


@pytest.mark.parametrize("name", SECRETS.split())
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("argv", "shown", "secrets"),
    [
        (["++wandb.api_key=CANARY"], ["++wandb.api_key=***"], ["CANARY"]),
        (["hub.token=a=b c", "x=1"], ["hub.token=***", "x=1"], ["a=b c"]),
        (["--token", "CANARY", "y"], ["--token", "***", "y"], ["CANARY"]),
        (["--api-key=CANARY"], ["--api-key=***"], ["CANARY"]),
        (["--password", "-x9"], ["--password", "***"], ["-x9"]),
        (["--use-auth", "--steps", "5"], ["--use-auth", "--steps", "5"], []),
        (["token", "CANARY"], ["token", "CANARY"], []),
        (["--token"], ["--token"], []),
        (["hub.token="], ["hub.token="], []),
        (["model.eos_token=</s>", "--pad-token", "x"], ["model.eos_token=</s>", "--pad-token", "x"], []),
    ],
)
def test_a_command_line_loses_the_values_of_secret_names(argv: list[str], shown: list[str], secrets: list[str]) -> None:
    assert redact_argv(argv) == shown
    assert secret_arguments(argv) == secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://me:pass@host/x", "sftp://me:***@host/x"),
        ("https://ghp_1@host/x and ssh://git@host", "https://***@host/x and ssh://git@host"),
        ("https://host/x?token=abc&b=1", "https://host/x?token=***&b=1"),
        ("https://host/?next=https://a:b@c&api_key=d", "https://host/?next=https://a:***@c&api_key=***"),
        ("export HF_TOKEN=abc; run", "export HF_TOKEN=***; run"),
        ("curl -H 'Authorization: Bearer abc' -H 'x-api-key: def'", "curl -H 'Authorization: ***' -H 'x-api-key: ***'"),
        ('{"password": "a b", "n": 1}', '{"password": ***, "n": 1}'),
        ("export HF_TOKEN=$OTHER", "export HF_TOKEN=$OTHER"),
        ("nano3-token:v1 tokens: 5 seed=3", "nano3-token:v1 tokens: 5 seed=3"),
    ],
)
def test_a_text_loses_the_secrets_that_it_names(text: str, shown: str) -> None:
    assert redact_named(text) == shown
    assert redact_named(shown) == shown


def test_nested_data_loses_what_stands_under_a_secret_name() -> None:
    data = {
        "password": 12345678,
        "use_auth": True,
        "api_keys": ["first-key", "second-key"],
        "credentials": {"user": "me", "code": None},
        "client_secret": "",
        "args": ["--token", "abc", "--steps", "3"],
        "steps": 3,
        "eos_token": "</s>",
    }
    assert Redactor().data(data) == {
        "password": "***",
        "use_auth": True,
        "api_keys": ["***", "***"],
        "credentials": {"user": "***", "code": None},
        "client_secret": "",
        "args": ["--token", "***", "--steps", "3"],
        "steps": 3,
        "eos_token": "</s>",
    }


def test_what_was_learned_is_a_secret_everywhere() -> None:
    redactor = Redactor(["from-the-start"]).learning(
        data=[{"db": {"password": 12345678}}, {"args": ["--pin-token", "in-a-list"]}], argv=["--token", "on-the-line"]
    )
    text = "from-the-start 12345678 in-a-list on-the-line"
    assert redactor.text(text) == "*** *** *** ***"
    assert redactor.data({"a": text}) == {"a": "*** *** *** ***"}
    assert redactor.argv(["--x", "on-the-line", "--token", "short"]) == ["--x", "***", "--token", "***"]


def test_names_may_be_told_and_references_are_shown() -> None:
    redactor = Redactor(names=["LICENSE", "HF_TOKEN"], references={"HF_TOKEN": "hf-token"})
    assert redactor.knows("LICENSE")
    data = {"secrets": {"HF_TOKEN": "hf-token"}, "LICENSE": "x", "env_vars": {"HF_TOKEN": "hf_value"}}
    assert redactor.data(data) == {
        "secrets": {"HF_TOKEN": "hf-token"},
        "LICENSE": "***",
        "env_vars": {"HF_TOKEN": "***"},
    }
    assert redactor.learning(data=[data]).text("hf-token hf_value") == "hf-token ***"


def test_a_short_value_is_not_searched_for() -> None:
    assert Redactor(["abc", ""]).text("abc") == "abc"


def test_a_longer_secret_goes_first() -> None:
    assert Redactor(["secret", "secret-and-more"]).text("x secret-and-more") == "x ***"


def test_a_very_long_word_is_read_once() -> None:
    # Read again from each of its letters, it would take a quarter of an hour.
    word = "x" * 150_000
    assert redact_named(f"{word} --token=abc 1.token=abc {word}_token=abc") == (
        f"{word} --token=*** 1.token=*** {word}_token=***"
    )
