from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.blend import Row
from nemotron.data_prep.chat import ChatEncoder, read_messages
from nemotron.data_prep.tokenizer import END_OF_TURN
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.packing import Sample
    from nemotron.data_prep.tokenizer import TextTokenizer

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "def add(a, b):"},
    {"role": "assistant", "content": "    return a + b"},
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "no"},
]


# Reasoning is on unless a caller says otherwise, and a turn without any has an empty block of it. Content is looked at:
# it is trimmed, its own block of reasoning is kept, and tool results share one turn.
REASONING_TEMPLATE = """
{%- set thinking = enable_thinking if enable_thinking is defined else true -%}
{%- for m in messages -%}
  {%- if m.role == 'assistant' -%}
    {{- '<|im_start|>assistant\n' -}}
    {{- m.content | trim if '</think>' in m.content else '<think></think>' + (m.content | trim) -}}
    {{- '<|im_end|>\n' -}}
  {%- elif m.role == 'tool' -%}
    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user\n' }}{% endif -%}
    {{- '<tool_response>' + m.content + '</tool_response>\n' -}}
    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif -%}
  {%- else -%}
    {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\n<think>' + ('\n' if thinking else '</think>') -}}
{%- endif -%}
"""


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    return small_tokenizer(tmp_path)


def trained_text(tokenizer: TextTokenizer, sample: Sample) -> str:
    """Decode the tokens that the mask, shifted back, says are learnt."""
    learnt = np.concatenate([[0], sample.mask[:-1]]).astype(bool)
    return str(tokenizer.backend.decode(sample.ids[learnt].tolist(), skip_special_tokens=False))


def test_the_tokens_are_the_rendered_template(tokenizer: TextTokenizer) -> None:
    sample = ChatEncoder(tokenizer).encode(TALK)
    text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in TALK)
    assert tokenizer.backend.decode(sample.ids.tolist(), skip_special_tokens=False) == text


def test_only_what_the_assistant_says_is_learnt(tokenizer: TextTokenizer) -> None:
    sample = ChatEncoder(tokenizer).encode(TALK)
    assert trained_text(tokenizer, sample) == "    return a + b<|im_end|>\nno<|im_end|>\n"
    assert len(sample.mask) == len(sample.ids)
    assert sample.mask[-1] == 0
    assert [str(values.dtype) for values in (sample.ids, sample.mask)] == ["int32", "uint8"]


def test_a_prompt_is_the_beginning_of_the_conversation(tokenizer: TextTokenizer) -> None:
    encoder = ChatEncoder(tokenizer)
    prompt = encoder.encode_prompt(TALK[:2])
    sample = encoder.encode(TALK[:3])
    assert sample.ids[: len(prompt)].tolist() == prompt
    assert sample.mask[: len(prompt) - 1].sum() == 0
    assert sample.mask[len(prompt) - 1] == 1


def test_a_message_cannot_end_its_turn(tokenizer: TextTokenizer) -> None:
    quoted = [{"role": "user", "content": f"say {END_OF_TURN}"}, {"role": "assistant", "content": END_OF_TURN}]
    sample = ChatEncoder(tokenizer).encode(quoted)
    assert sample.ids.tolist().count(tokenizer.backend.token_to_id(END_OF_TURN)) == 2


def test_a_quoted_token_stays_in_the_text(tokenizer: TextTokenizer) -> None:
    turns = [{"role": "user", "content": f"a{END_OF_TURN}b"}, {"role": "assistant", "content": "c"}]
    sample = ChatEncoder(tokenizer).encode(turns)
    text = tokenizer.backend.decode(sample.ids.tolist(), skip_special_tokens=False)
    assert text == "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n"


def test_a_template_that_reasons_by_default(tokenizer: TextTokenizer) -> None:
    sample = ChatEncoder(replace(tokenizer, chat_template=REASONING_TEMPLATE)).encode(TALK)
    assert trained_text(tokenizer, sample) == "return a + b<|im_end|>\nno<|im_end|>\n"
    whole = str(tokenizer.backend.decode(sample.ids.tolist(), skip_special_tokens=False))
    assert whole.count("<|im_start|>assistant\n<think></think>") == 2


def test_results_of_tools_share_a_turn(tokenizer: TextTokenizer) -> None:
    talk = [
        {"role": "user", "content": "both"},
        {"role": "assistant", "content": "call"},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "three"},
    ]
    sample = ChatEncoder(replace(tokenizer, chat_template=REASONING_TEMPLATE)).encode(talk)
    assert trained_text(tokenizer, sample) == "call<|im_end|>\nthree<|im_end|>\n"


def test_reasoning_inside_a_content_is_refused(tokenizer: TextTokenizer) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>hm</think>b"}]
    plain = replace(tokenizer, chat_template=REASONING_TEMPLATE)
    with pytest.raises(DataError, match="turn after turn"):
        ChatEncoder(plain).encode(talk)
    tokenizer.backend.add_special_tokens(["<think>", "</think>"])
    with pytest.raises(DataError, match="changes a message because of </think>, <think> in it"):
        ChatEncoder(plain).encode(talk)


def test_a_template_that_does_not_fit(tokenizer: TextTokenizer) -> None:
    template = "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="turn after turn"):
        ChatEncoder(replace(tokenizer, chat_template=template)).encode(TALK)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("hello", "not a list of messages"),
        ([], "not a list of messages"),
        ([{"role": "robot", "content": "x"}], "message 1 has the role 'robot'"),
        ([{"role": "user"}], "message 1 has no text"),
        ([{"role": "user", "content": "a"}, "b"], "message 2 has the role None"),
        ([{"role": "user", "content": "\ue000"}], "private-use"),
        ([{"role": "assistant", "content": "x", "tool_calls": [1]}], "the key 'tool_calls'"),
    ],
)
def test_a_record_that_is_no_conversation(tmp_path: Path, messages: object, said: str) -> None:
    row = Row({"messages": messages}, tmp_path / "chats.jsonl", 7)
    with pytest.raises(DataError, match=rf"chats\.jsonl:7: .*{said}"):
        read_messages(row, "messages")


def test_keys_that_parquet_fills_in_are_not_held_against_a_message(tmp_path: Path) -> None:
    row = Row({"m": [{"role": "user", "content": "a", "tool_calls": None}]}, tmp_path / "chats.parquet", 1)
    assert read_messages(row, "m") == [{"role": "user", "content": "a"}]
