from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.template import ChatTemplate
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.tokenizer import TextTokenizer

TALK = [{"role": "user", "content": "<hello> 'you' \u00e9"}]


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    return small_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{{ bos_token }}|{{ eos_token }}|{{ pad_token }}", "|<|endoftext|>|<|pad|>"),
        (
            "{% for n in 'abc' %}{% if n == 'a' %}{% continue %}{% endif %}{{ n }}{% break %}{% endfor %}",
            "b",
        ),
        ("a{% generation %}b{{ messages[0].role }}{% endgeneration %}c", "abuserc"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "<hello> \'you\' \u00e9"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1) }}", '{\n "b": 1,\n "a": 2\n}'),
        ("{{ strftime_now('%%-') }}", "%-"),
        ("{{ enable_thinking }}{{ add_generation_prompt }}{{ tools }}", "FalseTrueNone"),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
    ],
)
def test_what_a_template_finds(tokenizer: TextTokenizer, template: str, rendered: str) -> None:
    assert ChatTemplate(replace(tokenizer, chat_template=template)).render(TALK, generate=True) == rendered


def test_special_tokens_by_name(tokenizer: TextTokenizer) -> None:
    file = tokenizer.folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {
        "bos_token": {"content": "<s>", "special": True},
        "unk_token": None,
        "add_bos_token": True,
        "chat_template": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ add_bos_token }}",
    }
    file.write_text(json.dumps(settings))
    loaded = load_tokenizer(str(tokenizer.folder))
    assert ChatTemplate(loaded).render(TALK, generate=False) == "<s><|endoftext|>"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{% for %}", "is not Jinja: line 2: "),
        ("{% nothing %}", "is not Jinja: line 1: .*unknown tag 'nothing'"),
        ("{% generation %}", "is not Jinja"),
        (None, "has no chat template"),
    ],
)
def test_a_template_that_is_none(tokenizer: TextTokenizer, template: str | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ChatTemplate(replace(tokenizer, chat_template=template))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('system turns are not allowed') }}", "refuses .*: system turns are not allowed"),
        ("{{ messages[0].nothing.more }}", "refuses .*no attribute 'nothing'"),
        ("{{ 'a' + 1 }}", "fails on the conversation: TypeError"),
        ("{{ messages.append(1) }}", "refuses .*unsafe"),
    ],
)
def test_a_template_that_fails(tokenizer: TextTokenizer, template: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ChatTemplate(replace(tokenizer, chat_template=template)).render(TALK, generate=False)
