"""Conversations, templates and a tokenizer of single bytes, for tests of chats; and the rule in its plainest form."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from nemotron.data_prep.chat import Conversation
from nemotron.data_prep.encoding import EngineSpec, load_encoder, read_definition
from nemotron.data_prep.tokenizer import END_OF_TURN, START_OF_TURN, TextTokenizer, train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from nemotron.data_prep.encoding import Encoder

    class Render(Protocol):
        def __call__(self, messages: list[dict[str, Any]], *, generate: bool, thinking: bool) -> str: ...


# Headers and trimmed contents as Llama 3 has them; functions are listed in the user's first turn.
LLAMA = """
{{- bos_token | default('') -}}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + (message.content | tojson) + '<|eot_id|>' }}
    {%- elif message.tool_calls %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson(indent=1)) + '}<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
        {%- if loop.first and tools %}{{ 'Functions: ' ~ (tools | tojson) ~ '\n\n' }}{% endif %}
        {{- message.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""

# As Mistral has it: no header for an answer, turns that have to alternate, the system's text in the last question.
MISTRAL = """
{%- if messages[0].role == 'system' -%}
  {%- set said, talk = messages[0].content, messages[1:] -%}
{%- else -%}
  {%- set said, talk = '', messages -%}
{%- endif -%}
{{- '<s>' -}}
{%- for message in talk -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}{{- raise_exception('turns alternate') -}}{%- endif -%}
  {%- if message.role == 'user' -%}
    {%- set before = said ~ '\n\n' if said and loop.index0 + 2 > talk | length else '' -%}
    {{- '[INST] ' ~ before ~ message.content ~ '[/INST]' -}}
  {%- elif message.role == 'assistant' -%}
    {%- generation -%}{{- ' ' ~ message.content | trim ~ '</s>' -}}{%- endgeneration -%}
  {%- else -%}
    {{- raise_exception('only users and assistants') -}}
  {%- endif -%}
{%- endfor -%}
"""

# Looks into contents in every way that it should be caught at.
CURIOUS = """
{%- for m in messages -%}
  {{- '<|im_start|>' ~ m.role ~ '\n' -}}
  {%- if m.role == 'assistant' and m.content and '</think>' in m.content -%}
    {{- m.content.split('</think>')[-1].lstrip('\n') if not loop.last else m.content -}}
  {%- elif m.content and m.content.startswith('Note') and loop.last -%}{{- 'N' -}}
  {%- elif m.content == 'a' and loop.last -%}{{- 'b' -}}
  {%- elif m.role == 'user' and m.content[:2] == 'xy' and not loop.last -%}{{- 'z' -}}
  {%- else -%}{{- (m.content or '').strip('*') if m.role == 'user' else m.content -}}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers <|im_end|>.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "enum": [1, 2]}},
                "required": ["a"],
            },
        },
    }
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **others: Any) -> dict[str, Any]:  # noqa: ANN401 fields of a message
    return {"role": "assistant", "content": text, **others}


def call(name: str, **arguments: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text}


def byte_tokenizer(folder: Path) -> TextTokenizer:
    """Make a tokenizer without merges: a token for each byte, and the special tokens."""
    return train_tokenizer([], 260, folder)


def hf_encoder(tokenizer: TextTokenizer) -> Encoder:
    """Give the trusted encoder of a tokenizer."""
    definition = read_definition(tokenizer.folder / "tokenizer.json")
    return load_encoder(EngineSpec(str(definition.path), "hf", definition.digest), definition)


def ids_of(tokenizer: TextTokenizer, *parts: str) -> list[int]:
    """Give the ids of parts: a name that stands alone is a special token, all else its bytes."""
    ids: list[int] = []
    for part in parts:
        if part in (START_OF_TURN, END_OF_TURN):
            ids.append(tokenizer.specials[part])
        elif part:
            vocabulary = tokenizer.backend.get_vocab()
            ids += [vocabulary[character] for character in _bytes(part)]
    return ids


@cache
def _bytes(text: str) -> str:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in level.pre_tokenize_str(text))


def plain_rule(messages: list[dict[str, Any]], render: Render) -> list[list[tuple[bool, str]]] | None:
    """Cut a conversation into chunks, one rendering after the other; None where it cannot be."""
    thinking = any(message.get("reasoning_content") for message in messages)
    if not thinking:
        chunks = _walk(messages, render, 0, "", thinking=False)
        return None if chunks is None else [chunks]
    sequences = []
    asked = [number for number, message in enumerate(messages) if message["role"] == "user"]
    for turn, following in pairwise([*asked, len(messages)]):
        part = messages[:following]
        if len(part) == turn + 1:
            continue
        full = render(part, generate=False, thinking=True)
        head = _beginning(part, turn, render, thinking=True)
        if not full.startswith(head):
            return None
        system = head.find("<|im_end|>\n") + len("<|im_end|>\n") if "<|im_end|>\n" in head else 0
        rest = _walk(part, render, turn + 1, head, thinking=True)
        if rest is None:
            return None
        sequences.append([(False, head[:system]), (False, head[system:]), *rest])
    return sequences


def _walk(
    messages: list[dict[str, Any]],
    render: Render,
    first: int,
    before: str,
    *,
    thinking: bool,
) -> list[tuple[bool, str]] | None:
    full = render(messages, generate=False, thinking=thinking)
    chunks = []
    for number in range(first, len(messages)):
        if messages[number]["role"] == "tool" and number + 1 < len(messages) and messages[number + 1]["role"] == "tool":
            continue
        text = _beginning(messages, number, render, thinking=thinking)
        if full[: len(text)] != text or len(text) < len(before):
            return None
        chunks.append((messages[number]["role"] == "assistant", full[len(before) : len(text)]))
        before = text
    return chunks


def _beginning(
    messages: list[dict[str, Any]],
    number: int,
    render: Render,
    *,
    thinking: bool,
) -> str:
    following = messages[number + 1] if number + 1 < len(messages) else {"role": None}
    answered = messages[number]["role"] in ("user", "tool") and following["role"] == "assistant"
    if answered and thinking and not (following.get("reasoning_content") or "").strip():
        beginning = render(messages[: number + 1], generate=False, thinking=thinking)
        return beginning + "<|im_start|>assistant\n<think></think>"
    return render(messages[: number + 1], generate=answered, thinking=thinking)


ODD = (
    "a", " ", "", "\n", "  two  ", "xyz", "Note well", "*bold*", "</think>\n\nafter", "<think>hm</think>said",
    "<|im_end|>", "<|im_end|>\n", "x<|im_end|", "|>", ">", "<", "im_end", "end", "<|im_start|>user\nHi",
    "<|endoftext|>", '"quoted" \\ "', "\u65e5\u672c\u8a9e\u306e \u6587\u7ae0\u3001\u6f22\u5b57",
    "\xe9\u0301\U0001f9d1\u200d\U0001f680", "\ue000\ue0010\ue001", '\ue0021"\ue003', "{{ x }}", "user",
    "\t\n \n\t", "9173645", "# Tools", "[INST]", "</s>", "\u2028", "\x00", "line\r\nline",
    "   def f():\n\treturn 1\n",
)  # fmt: skip

texts = st.one_of(st.sampled_from(ODD), st.text(max_size=12), st.lists(st.sampled_from(ODD), max_size=3).map("".join))
_values = st.one_of(
    texts, st.integers(-5, 2**40), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(texts, max_size=2)
)
_arguments = st.dictionaries(
    st.one_of(st.sampled_from(["a", "key", "im_end|", "<|im_end|"]), texts), _values, max_size=3
)
_reasoning = st.one_of(st.none(), st.just("missing"), st.sampled_from(["", " \n", "Because.\n", "x</think>y"]), texts)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw a conversation: mostly well-formed, with tools and reasoning or without."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": draw(st.sampled_from(["system", "system", "developer"])), "content": draw(texts)})
    reasons = draw(st.booleans())
    calls = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts)})
        if calls and draw(st.booleans()):
            count = draw(st.integers(1, 2))
            messages.append(_answer(draw, None if draw(st.booleans()) else draw(texts), reasons=reasons))
            messages[-1]["tool_calls"] = [_call(draw, number) for number in range(count)]
            messages += [{"role": "tool", "tool_call_id": f"{n}", "content": draw(texts)} for n in range(count)]
        if draw(st.integers(0, 5)):
            messages.append(_answer(draw, draw(texts), reasons=reasons))
    if not draw(st.integers(0, 9)):
        messages = draw(st.permutations(messages))
    return Conversation(messages, TOOLS if calls and draw(st.booleans()) else None)


def _answer(draw: st.DrawFn, content: str | None, *, reasons: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    reasoning = draw(_reasoning) if reasons else "missing"
    if reasoning != "missing":
        message["reasoning_content"] = reasoning
    return message


def _call(draw: st.DrawFn, number: int) -> dict[str, Any]:
    function = {"name": draw(st.sampled_from(["add", "f<|im_end|>"])), "arguments": draw(_arguments)}
    return {"id": f"{number}", "type": "function", "function": json.loads(json.dumps(function))}
