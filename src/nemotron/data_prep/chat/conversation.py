"""Conversations as records have them, in the shape of OpenAI's API, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from nemo_runspec.errors import DataError, guess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Message = dict[str, Any]
Tools = list[dict[str, Any]] | None

ROLES = ("system", "developer", "user", "assistant", "tool")
# The first is what templates read; the others are names that some data has for it.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXTS = ("tool_call_id", "name")
_TOOLS_REMEDY = 'Write [{"type": "function", "function": {"name": "...", "parameters": {...}}}].'
_CALLS_REMEDY = 'Write [{"type": "function", "function": {"name": "...", "arguments": "{...}"}}].'

EMPTY = "it has no messages"
NOT_JSON = "arguments are not JSON"
STRAY_CALL = "a <tool_call> stands in a text, and no message has # Tools"


class Fields(Protocol):
    """What a data set says about its records."""

    @property
    def messages(self) -> str:
        """Name of the field with the turns."""

    @property
    def tools(self) -> str:
        """Name of the field with the functions that can be called."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation.

    Args:
        messages: Its turns, each with `role`, and what else there is of `content`, `reasoning_content`, `tool_calls`
            (with arguments as a mapping), `tool_call_id` and `name`; only beside calls there may be no content.
        tools: The functions that can be called in it, or None.
    """

    messages: list[Message]
    tools: Tools = None

    @property
    def reasons(self) -> bool:
        """Whether any message has reasoning."""
        return any(message.get("reasoning_content") for message in self.messages)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation that is not used.

    Args:
        reason: Why, as half a sentence; the same for all that are dropped for it.
        fault: Whether the template refuses the record, which is a mistake in one of them, rather than a rule of what
            is worth learning.
    """

    reason: str
    fault: bool = False


class _ArgumentsError(Exception):
    """A call's arguments are text that is no JSON object."""


def read_conversation(values: Mapping[str, object], fields: Fields) -> Conversation | Dropped:
    """Give the conversation in a record.

    Args:
        values: The record.
        fields: The data set it belongs to.

    Returns:
        The conversation, or why the record is to be left out.

    Raises:
        DataError: A field is missing, or holds something else than it should; the message names it.
    """
    if fields.messages not in values:
        message = f"the record has no field '{fields.messages}'"
        raise DataError(message, remedy=guess(fields.messages, values, what="fields of this record"))
    turns = _parsed(values[fields.messages], fields.messages)
    if not isinstance(turns, list):
        message = f"the field '{fields.messages}' is not a list of messages"
        raise DataError(message, remedy='Write [{"role": "user", "content": "..."}, ...].')
    tools = _read_tools(_parsed(values.get(fields.tools), fields.tools), fields.tools)
    if not turns:
        return Dropped(EMPTY)
    try:
        conversation = Conversation(
            [_read_turn(turn, f"{fields.messages}[{number}]") for number, turn in enumerate(turns)], tools
        )
    except _ArgumentsError:
        return Dropped(NOT_JSON)
    return Dropped(STRAY_CALL) if _has_stray_call(conversation.messages) else conversation


def uses(values: Mapping[str, object], field: str) -> frozenset[str]:
    """Give what a record says it is for.

    Args:
        values: The record.
        field: Its field with the names: a list, or a text with commas.

    Raises:
        DataError: It holds something else.
    """
    found = values.get(field)
    if found is None:
        return frozenset()
    if isinstance(found, str):
        return frozenset(name.strip() for name in found.split(",") if name.strip())
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return frozenset(found)
    message = f"the field '{field}' is no list of names"
    raise DataError(message, remedy='Write ["one", "two"], or "one, two".')


def _parsed(value: object, name: str) -> object:
    """Give a field's value; data in Parquet has lists of unlike objects as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value) if value.strip() else None
    except orjson.JSONDecodeError as error:
        message = f"the field '{name}' holds text that is not JSON: {error.msg}"
        raise DataError(message, remedy="Write a list, or the JSON text of one.") from error


def _read_tools(value: object, name: str) -> Tools:
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        message = f"the field '{name}' is not a list of functions"
        raise DataError(message, remedy=_TOOLS_REMEDY)
    return value


def _read_turn(turn: object, name: str) -> Message:
    if not isinstance(turn, dict):
        message = f"'{name}' is not an object"
        raise DataError(message, remedy='Write {"role": "user", "content": "..."}.')
    role = turn.get("role")
    if role not in ROLES:
        message = f"'{name}.role' is {role!r}"
        raise DataError(message, remedy=f"Known roles: {', '.join(ROLES)}.")
    # Parquet gives every turn the keys of all turns, with null where one lacks them.
    read: Message = {key: value for key, value in turn.items() if value is not None and key not in _REASONING}
    reasoning = next((turn[key] for key in _REASONING if turn.get(key) is not None), None)
    if reasoning is not None:
        read["reasoning_content"] = reasoning
    if calls := read.pop("tool_calls", None):
        read["tool_calls"] = _read_calls(calls, f"{name}.tool_calls")
    if not isinstance(read.get("content"), str) and ("content" in read or "tool_calls" not in read):
        message = f"'{name}.content' is not a text"
        raise DataError(message, remedy='Write {"role": "user", "content": "..."}; null only beside tool_calls.')
    for key in ("reasoning_content", *_TEXTS):
        if key in read and not isinstance(read[key], str):
            message = f"'{name}.{key}' is not a text"
            raise DataError(message, remedy="Give a text, or leave it out.")
    return read


def _read_calls(calls: object, name: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        message = f"'{name}' is not a list of calls"
        raise DataError(message, remedy=_CALLS_REMEDY)
    read = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            message = f"'{name}[{number}]' has no function with a name"
            raise DataError(message, remedy=_CALLS_REMEDY)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            function = {**function, "arguments": _parse_arguments(arguments)}
        elif arguments is not None and not isinstance(arguments, dict):
            message = f"'{name}[{number}].function.arguments' is neither an object nor its JSON text"
            raise DataError(message, remedy=_CALLS_REMEDY)
        read.append({**call, "function": function})
    return read


def _parse_arguments(text: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _ArgumentsError from error
    if not isinstance(parsed, dict):
        raise _ArgumentsError
    return cast("dict[str, Any]", parsed)


def _has_stray_call(messages: Sequence[Message]) -> bool:
    """Tell whether a text has a call written into it, in a conversation that shows no list of functions."""
    texts = [message.get(key) or "" for message in messages for key in ("content", "reasoning_content")]
    return any("<tool_call>" in text for text in texts) and not any(
        "# Tools" in (message.get("content") or "") for message in messages
    )
