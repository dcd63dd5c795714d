from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.chat import BUNDLED, ChatTemplate
from nemotron.data_prep.chat.template import TemplateRefusalError
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.tokenizer import TextTokenizer

TALK = [{"role": "user", "content": "<hello> 'you' \u00e9"}]


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    return small_tokenizer(tmp_path)


def rendered(template: ChatTemplate) -> str:
    return template.render(TALK, generate=True, thinking=False)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ bos_token }}|{{ eos_token }}|{{ pad_token }}", "|<|endoftext|>|<|pad|>"),
        ("a{% generation %}b{{ messages[0].role }}{% endgeneration %}c", "abuserc"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "<hello> \'you\' \u00e9"}'),
        ("{{ strftime_now('%%-') }}", "%-"),
        ("{{ enable_thinking }}{{ add_generation_prompt }}{{ tools }}", "FalseTrueNone"),
    ],
)
def test_what_a_template_finds(tokenizer: TextTokenizer, template: str, said: str) -> None:
    assert rendered(ChatTemplate(tokenizer, template)) == said
    assert rendered(ChatTemplate(replace(tokenizer, chat_template=template))) == said


def test_where_a_template_is(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[0].role }}", encoding="utf-8")
    assert rendered(ChatTemplate(tokenizer, str(file))) == "user"
    assert rendered(ChatTemplate(tokenizer, "chatml")).endswith("<|im_start|>assistant\n")
    assert rendered(ChatTemplate(tokenizer, "nano3")).endswith("<|im_start|>assistant\n<think></think>")
    assert BUNDLED == ("chatml", "nano3")


def test_a_template_that_is_nowhere(tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match=r"'nano4' is no bundled one, no Jinja text, and no file.*\n.*nano3"):
        ChatTemplate(tokenizer, "nano4")


def test_special_tokens_by_name(tokenizer: TextTokenizer) -> None:
    file = tokenizer.folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {
        "bos_token": {"content": "<s>", "special": True},
        "unk_token": None,
        "add_bos_token": True,
        "chat_template": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ add_bos_token }}",
    }
    file.write_text(json.dumps(settings))
    assert rendered(ChatTemplate(load_tokenizer(str(tokenizer.folder)))) == "<s><|endoftext|>"


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
        ("{{ messages[0].__class__.__mro__ }}", "refuses .*unsafe"),
        ("{% set n = namespace(a=1) %}{{ n.__init__.__globals__ }}", "refuses .*no attribute '__init__'"),
        ("{% for m in messages %}{{ loop.__class__.__mro__ }}{% endfor %}", "refuses .*unsafe"),
    ],
)
def test_a_template_that_fails(tokenizer: TextTokenizer, template: str, said: str) -> None:
    with pytest.raises(TemplateRefusalError, match=said):
        rendered(ChatTemplate(tokenizer, template))
