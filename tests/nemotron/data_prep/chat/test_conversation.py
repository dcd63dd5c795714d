from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.chat import Conversation, Dropped, read_conversation, uses
from nemotron.data_prep.chat.conversation import EMPTY, NOT_JSON, STRAY_CALL


@dataclass
class Fields:
    messages: str = "messages"
    tools: str = "tools"


USER = {"role": "user", "content": "a"}


def call(arguments: object, **others: object) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": arguments}}],
        **others,
    }


def read(*messages: object, **others: object) -> Conversation | Dropped:
    return read_conversation({"messages": list(messages), **others}, Fields())


def test_what_openai_writes() -> None:
    turn = call('{"a": [1, null]}', content=None, refusal=None)
    result = {"role": "tool", "tool_call_id": "1", "name": "f", "content": "2"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    expected = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": [1, None]}}}],
    }
    for given in (tools, json.dumps(tools)):
        assert read(USER, turn, result, tools=given) == Conversation([USER, expected, result], tools)
    assert turn["content"] is None


def test_messages_as_json_text() -> None:
    assert read_conversation({"talk": json.dumps([USER])}, Fields("talk")) == Conversation([USER])


@pytest.mark.parametrize("tools", [None, [], "", "[]", "null"])
def test_no_tools(tools: object) -> None:
    assert read(USER, tools=tools) == Conversation([USER], None)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_the_names_of_reasoning(name: str) -> None:
    turn = {"role": "assistant", "content": "a", name: "r"}
    read_turn = {"role": "assistant", "content": "a", "reasoning_content": "r"}
    found = read(USER, turn)
    assert found == Conversation([USER, read_turn])
    assert isinstance(found, Conversation)
    assert found.reasons
    assert not Conversation([{**read_turn, "reasoning_content": ""}]).reasons
    assert Conversation([{**read_turn, "reasoning_content": " "}]).reasons


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], EMPTY),
        ([USER, call("{a: 1}")], NOT_JSON),
        ([USER, call("")], NOT_JSON),
        ([USER, call("[1]")], NOT_JSON),
        ([USER, {"role": "assistant", "content": "x <tool_call> y"}], STRAY_CALL),
        ([USER, {"role": "assistant", "content": "x", "reasoning_content": "<tool_call>"}], STRAY_CALL),
    ],
)
def test_what_is_dropped(messages: list[object], reason: str) -> None:
    assert read(*messages) == Dropped(reason)


def test_a_call_in_a_text_beside_a_list_of_functions() -> None:
    system = {"role": "system", "content": "s\n# Tools\n"}
    assert isinstance(read(system, USER, {"role": "assistant", "content": "<tool_call>"}), Conversation)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no field 'messages'"),
        ({"messages": "{"}, "'messages' holds text that is not JSON"),
        ({"messages": "hello"}, "'messages' holds text that is not JSON"),
        ({"messages": {"role": "user"}}, "'messages' is not a list of messages"),
        ({"messages": None}, "'messages' is not a list of messages"),
        ({"messages": [USER, "b"]}, r"'messages\[1\]' is not an object"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"'messages\[0\].role' is 'robot'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, r"'messages\[0\].role' is \['user'\]"),
        ({"messages": [{"role": "user"}]}, r"'messages\[0\].content' is not a text"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, r"'messages\[0\].content' is not a text"),
        ({"messages": [call({}, content=1)]}, r"'messages\[0\].content' is not a text"),
        ({"messages": [{**USER, "reasoning_content": 1}]}, r"'messages\[0\].reasoning_content' is not a text"),
        ({"messages": [{**USER, "tool_call_id": 1}]}, r"'messages\[0\].tool_call_id' is not a text"),
        ({"messages": [{**USER, "tool_calls": "x"}]}, r"'messages\[0\].tool_calls' is not a list of calls"),
        ({"messages": [{**USER, "tool_calls": [1]}]}, r"'messages\[0\].tool_calls\[0\]' has no function"),
        ({"messages": [call(5)]}, r"'messages\[0\].tool_calls\[0\].function.arguments' is neither"),
        ({"messages": [USER], "tools": "["}, "'tools' holds text that is not JSON"),
        ({"messages": [USER], "tools": {"a": 1}}, "'tools' is not a list of functions"),
        ({"messages": [USER], "tools": [1]}, "'tools' is not a list of functions"),
    ],
)
def test_what_is_no_conversation(values: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_conversation(values, Fields())


@pytest.mark.parametrize(
    ("value", "names"), [(None, set()), ("a, b,", {"a", "b"}), (["a", "b"], {"a", "b"}), ("", set())]
)
def test_what_a_record_is_for(value: object, names: set[str]) -> None:
    assert uses({"used_in": value}, "used_in") == names


def test_what_a_record_is_for_has_to_be_names() -> None:
    with pytest.raises(DataError, match="'used_in' is no list of names"):
        uses({"used_in": [1]}, "used_in")
