"""Conversations to measure the preparation of fine-tuning data with.

They are made of real paragraphs with a structure that chance gives them: 30 % reason, 15 % call a tool, and they have
one to four turns of the user.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

REASONING = 0.30
TOOLS = 0.15
SHORTEST, LONGEST = 120, 1200
"""Characters of a paragraph."""

MARKUP = ("<|", "<tool_call>", "<think>", "</think>")
"""What a paragraph must not hold: it would be taken for the chat's own."""

SEED = 0
Message = dict[str, Any]

TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search the documentation for a passage.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["query"],
        },
    },
}


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Give the paragraphs of documents that make a turn of a conversation.

    Args:
        texts: The documents.
    """
    for text in texts:
        for paragraph in text.split("\n\n"):
            stripped = paragraph.strip()
            if SHORTEST <= len(stripped) <= LONGEST and not any(mark in stripped for mark in MARKUP):
                yield stripped


def conversation(parts: Iterator[str], chance: random.Random) -> dict[str, Any]:
    """Make one conversation.

    Args:
        parts: Paragraphs; as many are taken as it needs.
        chance: Decides its structure.

    Returns:
        A record with `messages`, and `tools` where one is called.

    Raises:
        StopIteration: There are no paragraphs left.
    """
    reasons, calls = chance.random() < REASONING, chance.random() < TOOLS
    messages: list[Message] = []
    if calls or chance.random() < 1 / 2:
        messages.append({"role": "system", "content": next(parts)})
    for turn in range(chance.randint(1, 4)):
        messages.append({"role": "user", "content": next(parts)})
        if calls and turn == 0:
            messages += tool_turn(parts, reasons=reasons)
        messages.append(answer(parts, chance.randint(1, 4), chance.randint(1, 3) if reasons else 0))
    return {"messages": messages, "tools": [TOOL]} if calls else {"messages": messages}


def answer(parts: Iterator[str], length: int, reasoning: int) -> Message:
    """Make an assistant's turn.

    Args:
        parts: Paragraphs.
        length: How many paragraphs it has.
        reasoning: How many paragraphs of reasoning come before.
    """
    message: Message = {"role": "assistant", "content": "\n\n".join(next(parts) for _ in range(length))}
    if reasoning:
        message["reasoning_content"] = "\n\n".join(next(parts) for _ in range(reasoning))
    return message


def tool_turn(parts: Iterator[str], *, reasons: bool) -> list[Message]:
    """Make a call of the tool, and what it gives.

    Args:
        parts: Paragraphs.
        reasons: Whether the assistant reasons before it calls.
    """
    arguments = orjson.dumps({"query": next(parts)[:80], "limit": 3}).decode()
    call: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "search", "arguments": arguments}},
        ],
    }
    if reasons:
        call["reasoning_content"] = next(parts)
    return [call, {"role": "tool", "tool_call_id": "call_0", "content": next(parts)}]


def write_conversations(path: Path, texts: Iterable[str], count: int) -> Path:
    """Write conversations as JSON lines, the same for the same documents.

    Args:
        path: The file; what is there stays.
        texts: The documents that the paragraphs are taken from.
        count: How many; the paragraphs come again where they do not suffice.

    Returns:
        The file.
    """
    if path.exists():
        return path
    found = list(paragraphs(texts))
    chance = random.Random(SEED)  # noqa: S311 - a structure that can be repeated, not a secret
    parts = shuffled_without_end(found, chance)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.writelines(orjson.dumps(conversation(parts, chance)) + b"\n" for _ in range(count))
    partial.rename(path)
    return path


def shuffled_without_end(items: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Give some texts in a random order, and again in another one.

    Args:
        items: The texts.
        chance: Decides the order.

    Raises:
        RuntimeError: There are none.
    """
    if not items:
        message = "the documents hold no paragraphs to make conversations of"
        raise RuntimeError(message)
    order = list(items)
    while True:
        chance.shuffle(order)
        yield from order
